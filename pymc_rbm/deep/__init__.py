"""Learn deep belief networks, measure them and draw from them."""
