import pytensor
import pytensor.tensor as pt

from pymc_rbm.remembered import remembered


def test_a_function_serves_only_the_settings_under_which_it_was_asked_for():
    built = []

    @remembered(4)
    def function(name):
        built.append((name, pytensor.config.mode, pytensor.config.floatX))
        x = pt.scalar()
        return pytensor.function([x], x + 1)

    first = function("a")
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        quick = function("a")
        assert quick is function("a") is not first
    with pytensor.config.change_flags(floatX="float32"):
        assert function("a")(0.5).dtype == "float32"
    assert function("a") is first is not function("b")
    mode = pytensor.config.mode
    assert built == [
        ("a", mode, "float64"),
        ("a", "FAST_COMPILE", "float64"),
        ("a", mode, "float32"),
        ("b", mode, "float64"),
    ]
