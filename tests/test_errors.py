"""An error may be given advice on its way, and stays the same error."""

from exporter.errors import RefusedAddressError, ThrottledError, UnreachableError


def test_advice_is_a_line_of_its_own() -> None:
    error = ThrottledError("too fast", 3.0)
    assert error.with_advice("Wait a little") is error
    assert (str(error), error.retry_after_seconds) == ("too fast\nWait a little", 3.0)


def test_a_message_takes_the_place_of_another() -> None:
    assert str(UnreachableError("cut").with_message("given up").with_advice("Run again")) == "given up\nRun again"


def test_a_refused_address_reads_like_any_other_error_though_it_is_an_oserror() -> None:
    error = RefusedAddressError("localhost: a name without a dot").with_advice("Name it")
    assert isinstance(error, OSError)
    assert str(error) == "localhost: a name without a dot\nName it"
