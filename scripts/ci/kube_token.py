"""Give kubectl a token of this workflow's own identity, asked anew at each call.

    python3 scripts/ci/kube_token.py AUDIENCE

GitHub signs a token that says which repository, branch and environment runs, and that holds for
minutes, so a job that takes longer asks again with each call. The cluster's API server trusts
GitHub as an issuer (docs/github.md); nothing is kept that could be stolen. It needs a job with the
permission `id-token: write`, which brings ACTIONS_ID_TOKEN_REQUEST_URL and _TOKEN along.
"""

import base64
import json
import os
import sys
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from typing import Any

ANSWER_S_MAX = 20.0


def token(audience: str) -> str:
    """A fresh one; raises OSError, KeyError or ValueError where GitHub gives none."""
    url = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"]
    asked = f"{url}&audience={urllib.parse.quote(audience, safe='')}"
    bearer = f"bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"
    request = urllib.request.Request(asked, headers={"Authorization": bearer})
    with urllib.request.urlopen(request, timeout=ANSWER_S_MAX) as answer:
        return str(json.loads(answer.read())["value"])


def credential(signed: str) -> dict[str, Any]:
    """What kubectl takes, with the time at which the token ends."""
    claims = signed.split(".")[1]
    known = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    ends = datetime.fromtimestamp(known["exp"], UTC)
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": signed, "expirationTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ")},
    }


def main() -> int:
    """Print the credential."""
    try:
        made = credential(token(sys.argv[1]))
    except (OSError, KeyError, ValueError, IndexError) as error:
        # An answer's own text may hold the token.
        sys.stderr.write(f"kube-token: GitHub gave no token: {type(error).__name__}\n")
        return 1
    sys.stdout.write(json.dumps(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
