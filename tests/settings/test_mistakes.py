"""What an operator reads who made a mistake."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings.samples import GATEWAY, SECRETS
from worker.settings import Settings, SettingsError, load_intake_settings, load_settings
from worker.settings.gateway import Gateway

G = "WORKER_GATEWAYS__OPENAI-HUB__"

PERCENT = "(special characters in the password percent-encoded)"
REDIS = f"give redis://:PASSWORD@HOST:6379/0 {PERCENT}"
NO_REDIS = f"begins with neither redis:// nor rediss://; {REDIS}"
NO_CHECK = "does not say how to check the certificate; end it with ?ssl_cert_reqs=required"
NO_DATABASE = (
    f"is no database URL; give sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE {PERCENT}"
)
NO_FILE = "names no file, and workers cannot share memory; give sqlite:///FILE"
TWO_SLASHES = "has two slashes before its file; give three for a relative path, four for one from /"
NEW_SECRET = "print a new one with `suno-worker secret`"
NOT_BASE64 = f"secret 2 of 2: what follows whsec_ is not base64; {NEW_SECRET}"
NESTED = "holds something that is neither text nor number; give a flat list"
NO_PLACE = "'10.0.0.0/33' is no network (10.0.0.0/8), no address and no host name"
BASE_URL = "give the gateway's base URL"
NO_HTTP = f"begins with neither http:// nor https://; {BASE_URL}"
USER = "has a user or password before the host; give them up and set API_KEY"
BEARER = "begins with 'Bearer ', which AUTH_PREFIX adds; give the key alone"
NO_KEY = "has a space or another character that no header carries; give the key as you got it"
NO_PREFIX = r"'\xe9 ' cannot stand in a header; give up to 64 printable ASCII characters"
NO_HEADER = "'X API' is no name of an HTTP header; give letters, digits and dashes"
WAIT = "give seconds from 0 to 604800"
COUNT = "give a whole number from 1 to 1000"
LEVELS = "give DEBUG or INFO or WARNING or ERROR or CRITICAL"
UP_TO_300 = "give seconds above 0, at most 300"
UP_TO_3600 = "give seconds above 0, at most 3600"
RETENTION = "give seconds from 300 to 315360000"

# What ends the line, after the variable's name.
EXAMPLES = {
    "WORKER_DATABASE_URL": "postgresql+psycopg://worker:PASSWORD@localhost/worker",
    "WORKER_BROKER_URL": "redis://:PASSWORD@localhost:6379/0",
    "WORKER_RESULT_BACKEND": "redis://:PASSWORD@localhost:6379/1",
    "WORKER_WEBHOOK_SECRET": "$(suno-worker secret)",
    "WORKER_WEBHOOK_ALLOW": "10.1.0.0/16,hooks.internal",
    "WORKER_WEBHOOK_RETRY_SCHEDULE": "5,30,120,600",
    "WORKER_WEBHOOK_TIMEOUT": "15",
    "WORKER_WEBHOOK_ORIGIN_CONCURRENCY": "64",
    "WORKER_POLL_INTERVAL": "10",
    "WORKER_FIRST_POLL_DELAY": "10",
    "WORKER_TASK_DEADLINE": "86400",
    "WORKER_MISSING_GRACE": "300",
    "WORKER_STUCK_AFTER": "600",
    "WORKER_RETENTION": "2592000",
    "WORKER_LOG_LEVEL": "INFO",
    "WORKER_LOG_FORMAT": "json",
    f"{G}BASE_URL": "https://api.example.com",
    f"{G}API_KEY": "sk-0123456789",
    f"{G}FETCH": "single",
    f"{G}AUTH_HEADER": "X-API-Key",
    f"{G}AUTH_PREFIX": "'Bearer '",
    f"{G}BATCH_SIZE": "50",
    f"{G}CONCURRENCY": "4",
    f"{G}TIMEOUT": "30",
    f"{G}COOLDOWN": "5",
    f"{G}WEBHOOK_SECRET": "$(suno-worker secret)",
}

# variable, its value, what is said of it
BAD_VALUES = [
    ("WORKER_DATABASE_URL", "worker.db", NO_DATABASE),
    ("WORKER_DATABASE_URL", "postgresql://u:p@h:port/d", NO_DATABASE),
    (
        "WORKER_DATABASE_URL",
        "mysql://h/d",
        "begins with mysql://; give sqlite:///FILE or postgresql+psycopg://…",
    ),
    (
        "WORKER_DATABASE_URL",
        "postgresql+asyncpg://h/d",
        "names the driver asyncpg; give postgresql+psycopg://…",
    ),
    ("WORKER_DATABASE_URL", "sqlite://", NO_FILE),
    ("WORKER_DATABASE_URL", "sqlite:///:memory:", NO_FILE),
    ("WORKER_DATABASE_URL", "sqlite:///file:x?mode=memory&uri=true", NO_FILE),
    ("WORKER_DATABASE_URL", "sqlite://worker.db", TWO_SLASHES),
    ("WORKER_BROKER_URL", "amqp://u:hunter2@h", NO_REDIS),
    ("WORKER_BROKER_URL", "localhost:6379", NO_REDIS),
    ("WORKER_BROKER_URL", "redis://", f"has no host; {REDIS}"),
    ("WORKER_BROKER_URL", "redis://:hunter2/b@h:6379", f"is no URL; {REDIS}"),
    ("WORKER_BROKER_URL", "redis://h:99999", f"is no URL; {REDIS}"),
    ("WORKER_BROKER_URL", "redis://h:0", f"has port 0; {REDIS}"),
    ("WORKER_BROKER_URL", "redis://h/cache", f"has a path that is no database number; {REDIS}"),
    ("WORKER_RESULT_BACKEND", "rpc://", NO_REDIS),
    ("WORKER_RESULT_BACKEND", "rediss://:hunter2@h", NO_CHECK),
    ("WORKER_WEBHOOK_SECRET", "hunter2", f"a webhook secret starts with whsec_; {NEW_SECRET}"),
    ("WORKER_WEBHOOK_SECRET", f"{SECRETS[0]},whsec_hunter2!", NOT_BASE64),
    ("WORKER_WEBHOOK_SECRET", "whsec_aHVudGVyMg==", f"the key has 7 bytes, not 24 to 64; {NEW_SECRET}"),
    (
        "WORKER_WEBHOOK_SECRET",
        '["hunter2"',
        "begins like a JSON list and is none; give a JSON list or commas",
    ),
    ("WORKER_WEBHOOK_SECRET", '[["hunter2"]]', NESTED),
    ("WORKER_WEBHOOK_ALLOW", "10.0.0.0/33", NO_PLACE),
    ("WORKER_WEBHOOK_RETRY_SCHEDULE", "5,soon", f"'soon' is not a number; {WAIT}"),
    ("WORKER_WEBHOOK_RETRY_SCHEDULE", "5,-1", f"'-1' is out of range; {WAIT}"),
    ("WORKER_WEBHOOK_RETRY_SCHEDULE", "[5, true]", f"'True' is not a number; {WAIT}"),
    ("WORKER_WEBHOOK_RETRY_SCHEDULE", "1," * 51, "has 51 waits; give at most 50"),
    ("WORKER_WEBHOOK_TIMEOUT", "0", f"'0' is out of range; {UP_TO_300}"),
    ("WORKER_WEBHOOK_TIMEOUT", "1e-9", f"'1e-9' is out of range; {UP_TO_300}"),
    ("WORKER_WEBHOOK_TIMEOUT", "15s", f"'15s' is not a number; {UP_TO_300}"),
    ("WORKER_WEBHOOK_ORIGIN_CONCURRENCY", "0", f"'0' is out of range; {COUNT}"),
    ("WORKER_WEBHOOK_ORIGIN_CONCURRENCY", "6.4", f"'6.4' is not a whole number; {COUNT}"),
    ("WORKER_POLL_INTERVAL", "inf", f"'inf' is out of range; {UP_TO_3600}"),
    ("WORKER_FIRST_POLL_DELAY", "nan", "'nan' is out of range; give seconds from 0 to 3600"),
    ("WORKER_TASK_DEADLINE", "1e400", "'1e400' is out of range; give seconds above 0, at most 31536000"),
    ("WORKER_MISSING_GRACE", "-5", "'-5' is out of range; give seconds from 0 to 2592000"),
    ("WORKER_STUCK_AFTER", "1\n0", r"'1\n0' is not a number; give seconds above 0, at most 2592000"),
    ("WORKER_RETENTION", "30 days", f"'30 days' is not a number; {RETENTION}"),
    ("WORKER_RETENTION", "299", f"'299' is out of range; {RETENTION}"),
    ("WORKER_RETENTION", "9" * 61, f"'{'9' * 60}'… is out of range; {RETENTION}"),
    ("WORKER_LOG_LEVEL", "loud", f"'loud' is unknown; {LEVELS}"),
    ("WORKER_LOG_FORMAT", "xml", "'xml' is unknown; give console or json"),
    (f"{G}BASE_URL", "ftp://h", NO_HTTP),
    (f"{G}BASE_URL", "api.example.com", NO_HTTP),
    (f"{G}BASE_URL", "https:///suno", f"has no host; {BASE_URL}"),
    (
        f"{G}BASE_URL",
        "https://\uff41pi.example.com",
        f"has a host that is no name and no address; {BASE_URL}",
    ),
    (f"{G}BASE_URL", "https://api..example.com", f"has a host that is no name and no address; {BASE_URL}"),
    (f"{G}BASE_URL", "https://h:70000", f"is no URL; {BASE_URL}"),
    (f"{G}BASE_URL", "https://h:0", f"has port 0; {BASE_URL}"),
    (f"{G}BASE_URL", "https://u:hunter2@h", USER),
    (f"{G}BASE_URL", "https://h?key=hunter2", f"has something after ? or #; {BASE_URL} alone"),
    (f"{G}BASE_URL", "https://h/#", f"has something after ? or #; {BASE_URL} alone"),
    (f"{G}BASE_URL", "https://h/a b", f"is longer than 2048 characters or has white space; {BASE_URL}"),
    (f"{G}API_KEY", "Bearer hunter2", BEARER),
    (f"{G}API_KEY", "hunter2\r\nx: y", NO_KEY),
    (f"{G}FETCH", "many", "'many' is unknown; give batch or single"),
    (f"{G}AUTH_HEADER", "X API", NO_HEADER),
    (f"{G}AUTH_PREFIX", "é ", NO_PREFIX),
    (f"{G}BATCH_SIZE", "101", "'101' is out of range; give a whole number from 1 to 100"),
    (f"{G}CONCURRENCY", "0", f"'0' is out of range; {COUNT}"),
    (f"{G}TIMEOUT", "300.1", f"'300.1' is out of range; {UP_TO_300}"),
    (f"{G}COOLDOWN", "0", f"'0' is out of range; {UP_TO_300}"),
    (f"{G}WEBHOOK_SECRET", "hunter2", f"a webhook secret starts with whsec_; {NEW_SECRET}"),
]

# variable, what is said of its name
EACH_VALUE = (
    "is no setting; each value of a gateway has its own variable, for example "
    "WORKER_GATEWAYS__MYGATEWAY__BASE_URL=https://api.example.com"
)
BAD_NAMES = [
    ("WORKER_POL_INTERVAL", "is no setting; did you mean WORKER_POLL_INTERVAL?"),
    ("WORKER_WEBHOOK_SECRETS", "is no setting; did you mean WORKER_WEBHOOK_SECRET?"),
    (f"{G}APIKEY", f"is no setting; did you mean {G}API_KEY?"),
    ("WORKER_GATEWAYS", EACH_VALUE),
    ("WORKER_GATEWAYS__OPENAI", EACH_VALUE),
    ("WORKER_GATEWAY_OPENAI_BASE_URL", EACH_VALUE),
    (
        "WORKER_GATEWAYS__OPEN.AI__BASE_URL",
        "the gateway's name 'open.ai' is not 1 to 64 of a-z, 0-9, _ and -; rename it",
    ),
    (
        f"WORKER_GATEWAYS__{'A' * 65}__BASE_URL",
        f"the gateway's name '{'a' * 60}'… is not 1 to 64 of a-z, 0-9, _ and -; rename it",
    ),
]


def problems(environ: Mapping[str, str]) -> str:
    """Return what is said of `environ`."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


@pytest.mark.parametrize(("variable", "value", "said"), BAD_VALUES)
def test_bad_value(variable: str, value: str, said: str) -> None:
    """Each wrong value gives one line: variable, what is wrong, what to do, an example."""
    example = f"{variable}={EXAMPLES[variable]}"

    assert problems(GATEWAY | {variable: value}) == f"{variable}: {said}, for example {example}"


def test_every_setting_can_be_wrong() -> None:
    """Each setting has a wrong value in the table above, and each value of a gateway."""
    names = {f"WORKER_{name.upper()}" for name in Settings.model_fields} - {"WORKER_GATEWAYS"}
    keys = {f"{G}{key.upper()}" for key in Gateway.model_fields} - {f"{G}NAME"}

    assert {variable for variable, *_ in BAD_VALUES} == names | keys == set(EXAMPLES)


@pytest.mark.parametrize(("variable", "said"), BAD_NAMES)
def test_bad_name(variable: str, said: str) -> None:
    """A name that nearly is a setting is told from it, so that no typo is silently ignored."""
    assert problems({variable: "1"}) == f"{variable}: {said}"


@pytest.mark.parametrize(
    ("variable", "said", "last"),
    [
        ("WORKER_X", "WORKER_DATABASE_URL, WORKER_BROKER_URL, ", ", WORKER_LOG_FORMAT"),
        (f"{G}X", f"{G}BASE_URL, {G}API_KEY, ", f", {G}WEBHOOK_SECRET"),
    ],
)
def test_a_name_like_no_other(variable: str, said: str, last: str) -> None:
    """A name that resembles none is answered with all there are."""
    text = problems({variable: "1"})

    assert text.startswith(f"{variable}: is no setting; remove it, or choose from {said}")
    assert text.endswith(last)


def test_a_variable_set_twice() -> None:
    """Two spellings of one name are refused rather than one of them ignored."""
    said = problems({"WORKER_POLL_INTERVAL": "1", "worker_poll_interval": "2"})

    assert said == "worker_poll_interval: is set twice, in upper and lower case; keep one of the two"


@pytest.mark.parametrize(
    ("given_key", "missing_key", "value", "example"),
    [
        ("BASE_URL", "API_KEY", "https://h", "sk-0123456789"),
        ("API_KEY", "BASE_URL", "k", "https://api.example.com"),
    ],
)
def test_half_a_gateway(given_key: str, missing_key: str, value: str, example: str) -> None:
    """A gateway without its address or its key says which of them is missing."""
    assert problems({f"{G}{given_key}": value, f"{G}{missing_key}": ""}) == (
        f"{G}{missing_key}: is missing; every gateway needs its BASE_URL and its API_KEY, "
        f"for example {G}{missing_key}={example}"
    )


def test_all_mistakes_at_once() -> None:
    """All mistakes of an environment are told together, sorted by variable, one line each."""
    wrong = {variable: value for variable, value, _ in BAD_VALUES} | {name: "1" for name, _ in BAD_NAMES}

    lines = problems(GATEWAY | wrong).splitlines()

    assert [line.partition(":")[0] for line in lines] == sorted(wrong)


@pytest.mark.parametrize(
    ("variable", "value"), [(variable, value) for variable, value, _ in BAD_VALUES if "hunter2" in value]
)
def test_no_secret_in_an_error(variable: str, value: str) -> None:
    """A wrong secret is neither in the error nor anywhere in its traceback."""
    with pytest.raises(SettingsError) as caught:
        load_settings(GATEWAY | {variable: value})

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in repr(caught.value.problems)


def test_intake_settings_report_their_own_mistakes() -> None:
    """The few settings of a service that enqueues are checked as strictly."""
    with pytest.raises(SettingsError) as caught:
        load_intake_settings({"WORKER_FIRST_POLL_DELAY": "soon"})

    assert str(caught.value) == (
        "WORKER_FIRST_POLL_DELAY: 'soon' is not a number; give seconds from 0 to 3600, "
        "for example WORKER_FIRST_POLL_DELAY=10"
    )


@given(variable=st.sampled_from(sorted(EXAMPLES)), value=st.text(max_size=200))
def test_any_text_is_answered(variable: str, value: str) -> None:
    """Whatever text stands in a variable, it is either taken or answered with one printable line."""
    said = ""
    try:
        load_settings(GATEWAY | {variable: value})
    except SettingsError as error:
        said = str(error)

    assert said.isprintable()
    assert not said or said.startswith(f"{variable}: ")
