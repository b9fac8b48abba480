"""The verifier of card codes in a browser, where there may be no cryptography to lean on."""

import json
from pathlib import Path

import pytest

import qr

pytestmark = pytest.mark.browser

NOON = 1_790_000_000


@pytest.fixture
def vectors():
    return json.loads(Path(qr.__file__).with_name("vectors.json").read_text("utf-8"))


class TestVerifier:
    @pytest.mark.parametrize("kind", ["signed", "device"])
    def test_needs_no_subtle_crypto_and_no_other_origin(self, page, origin, vectors, kind):
        # As on plain HTTP in a campus network; the fixture watches origins and the page's policy.
        page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
        page.goto(f"{origin}/stage/till/?terminal=1")
        vector = vectors["valid"][kind][0]
        told = page.evaluate(
            """async ({ jwks, issuer, text, now }) => {
                const { Verifier } = await import("/stage/faces/qr/verifier.js");
                const verifier = new Verifier(Verifier.keysOf(jwks), { issuer });
                const { key } = verifier.verify(text, { need: 1, now });
                const spoilt = text.slice(0, -1) + ((Number(text.at(-1)) + 1) % 10);
                try {
                    verifier.verify(spoilt, { need: 1, now });
                } catch (error) {
                    return { key, code: error.code, subtle: typeof crypto.subtle };
                }
            }""",
            {
                "jwks": vectors["jwks"],
                "issuer": vectors["issuer"],
                "text": vector["text"],
                "now": NOON,
            },
        )
        assert told == {"key": vector["key"], "code": "code-forged", "subtle": "undefined"}
