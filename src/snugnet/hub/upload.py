"""Files to a repository of the Hugging Face Hub, in one commit. The only module that talks to it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import JSONDecodeError

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.utils import HfHubHTTPError

from snugnet.errors import StorageError, UsageError
from snugnet.hub.bundle import File

LOGIN = "log in by `hf auth login`, with a token that may write to {owner}"
NETWORK = (OSError, *HfHubHTTPError.__bases__)  # of requests or httpx, whichever this version is built on


def push(repository: str, files: Sequence[File], message: str, *, private: bool = False) -> str:
    """Makes the repository where there is none, and adds the files in one commit; returns the commit's address.

    A repository that is there keeps its other files. Raises StorageError, UsageError.
    """
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="snugnet")
    if os.environ.get("SNUG_OFFLINE") == "1":
        raise StorageError(
            "push: SNUG_OFFLINE=1 forbids the network; unset it, or look at what would leave by --dry-run"
        )
    if get_token() is None:
        login = LOGIN.format(owner=repository.partition("/")[0])
        raise StorageError(f"push: no token of the Hugging Face Hub is known here; {login}, or set HF_TOKEN")
    with _explained(repository, api.endpoint):
        api.create_repo(repository, exist_ok=True, **({"private": True} if private else {}))
        if private and not api.model_info(repository).private:
            raise UsageError(
                f"--private: {repository} is there already and is public; make it private in its settings on the Hub, "
                "or leave --private out. Nothing was sent"
            )
        operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.data) for file in files]
        return str(api.create_commit(repository, operations, commit_message=message).commit_url)


@contextmanager
def _explained(repository: str, endpoint: str) -> Iterator[None]:
    """What the Hub refuses, and a network that fails, in one line that says what to do."""
    try:
        yield
    except HfHubHTTPError as error:
        raise StorageError(f"push: {endpoint} {_refusal(repository, error)}") from error
    except NETWORK as error:
        raise StorageError(
            f"push: {endpoint} cannot be reached ({_line(error)}); check the network and repeat the command"
        ) from error
    except RuntimeError as error:  # of an upload that failed in a thread
        raise StorageError(
            f"push: {endpoint} took not all files ({_line(error.__cause__ or error)}); repeat the command"
        ) from error
    except (KeyError, JSONDecodeError) as error:
        raise StorageError(
            f"push: {endpoint} gives no answer that a Hub gives ({_line(error)}); check HF_ENDPOINT and the network"
        ) from error
    except ValueError as error:
        raise UsageError(f"push: {endpoint} does not take it: {_line(error)}; mend README.md or the name") from error


def _refusal(repository: str, error: HfHubHTTPError) -> str:
    response = getattr(error, "response", None)
    code = getattr(response, "status_code", 0)
    owner = repository.partition("/")[0]
    if code in (401, 403):
        return f"refuses to write to {repository} ({code}); {LOGIN.format(owner=owner)}"
    if code == 404:
        return f"knows no {repository}, or hides it from this token (404); {LOGIN.format(owner=owner)}"
    return f"answers {code or 'nothing'} ({_line(error)}); repeat the command later"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
