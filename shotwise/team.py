"""Where a team's services answer, once `shotwise up` has made the state folder a team's.

From then on every command on the folder speaks to them; nothing falls back to a database of its own, because
two journals of one team would be two budgets.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from shotwise.errors import CannotRunError


@dataclass(frozen=True)
class Team:
    """Addresses of a team's services.

    Attributes:
        prefect_api_url, mlflow_url: HTTP addresses.
        database_url: of journal and ledger; None where `DATABASE_URL` names it, which may hold a password.
    """

    prefect_api_url: str
    mlflow_url: str
    database_url: str | None

    @classmethod
    def of(cls, root: Path) -> Team | None:
        """The team of a state folder, None where there is none."""
        try:
            return cls(**json.loads((root / "team.json").read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            raise CannotRunError(
                "SHOTWISE_HOME", root / "team.json", "is damaged", "write it anew with `shotwise up`"
            ) from None

    def write(self, root: Path) -> None:
        """Make the folder this team's."""
        path = root / "team.json"
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n")
        part.chmod(0o600)
        part.replace(path)

    def journal_url(self) -> str:
        """The database of journal and ledger."""
        url = os.environ.get("DATABASE_URL") or self.database_url
        if url is None:
            raise CannotRunError(
                "DATABASE_URL", "", "not set, and this folder's team keeps its journal there", "set it"
            )
        return url
