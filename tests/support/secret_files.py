"""Files of secrets, as the commands want them: nobody else may read them."""

from pathlib import Path


def write_secret(path: Path, content: str | bytes) -> Path:
    """Writes a file of mode 600; an existing one keeps its mode."""
    path.touch(0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
