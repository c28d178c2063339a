"""Whose certificates the nightly client trusts."""

from __future__ import annotations

import ssl
from typing import Any

from requests.adapters import HTTPAdapter


class MachinesTrust(HTTPAdapter):
    """Connections that trust whom the machine trusts, as well as the list that requests brings.

    A company's own authority stands in the machine's store alone, or in SSL_CERT_FILE, which
    OpenSSL itself reads.
    """

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pool, with the store as it is now."""
        context = ssl.create_default_context()
        super().init_poolmanager(*arguments, ssl_context=context, **options)
