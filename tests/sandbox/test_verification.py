from __future__ import annotations

import sys

import pytest

from worker.sandbox.verification import ExtraMissing, make_verifier


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, one line names the command that adds it."""
    monkeypatch.setitem(sys.modules, "standardwebhooks.webhooks", None)

    with pytest.raises(ExtraMissing, match=r"pip install 'suno-worker\[sandbox\]'$"):
        make_verifier(["whsec_MDEyMzQ1Njc4OTAx"])


@pytest.mark.parametrize("secret", ["whsec_", "whsec_a", "whsec_é", ""])
def test_a_broken_secret_is_refused_without_repeating_it(secret: str) -> None:
    """A secret that is no base64 is an error that does not tell it."""
    with pytest.raises(ValueError, match=r"^secret: not `whsec_` and base64") as caught:
        make_verifier([secret])

    assert "é" not in str(caught.value)


def test_nothing_verifies_without_a_secret() -> None:
    """A verifier of no secrets refuses everything."""
    assert make_verifier([])(b"{}", {}) == "no secret to verify with"
