"""What would join labels and files that do not join: simple changes of ids, tried in turn."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

# Ids that are looked for in the names of files, and names that are looked at for each.
_AFFIX_IDS, _AFFIX_NAMES = 3, 50
# Ids on which a beginning or an end is tried before it is tried on all.
_AFFIX_TRIALS = 200


@dataclass(frozen=True, slots=True)
class UnlabelledSlice:
    """A slice of which no row of the label CSV speaks.

    Attributes:
      path: The file's path within the source.
      uid: SOP instance UID; `<UID>/<frame>` for a frame.
      suffix: `/<frame>` for a frame; else empty.
    """

    path: str
    uid: str
    suffix: str = ""

    def keys(self) -> dict[str, str]:
        """Texts by which an id may name the slice, by what they are."""
        name = _without_folder(self.path)
        return {
            "uid": self.uid,
            "name": name + self.suffix,
            "stem": _without_extension(name) + self.suffix,
            "path": self.path + self.suffix,
            "path's stem": _without_extension(self.path) + self.suffix,
        }


# By --label_key, the texts that an id may be.
_KEYS = {"uid": ("uid",), "name": ("name", "stem"), "path": ("path", "path's stem")}


def joining_rules(
    ids: Sequence[str], slices: Sequence[UnlabelledSlice], label_key: str
) -> Iterator[tuple[int, str]]:
    """Tries rules, the simplest first.

    Args:
      ids: Ids of the label CSV that name no file.
      slices: Slices without labels.
      label_key: What an id is, one of `config.LABEL_KEYS`.

    Yields:
      Number of slices that a rule joins, and its words, which follow "they would join".

    Examples:
      >>> slices = [UnlabelledSlice("a/ID_07.dcm", "1.2.3")]
      >>> next(words for count, words in joining_rules(["id_07"], slices, "auto") if count)
      'if upper and lower case were alike'
    """
    texts: dict[str, Counter[str]] = {}
    for slice_ in slices:
        for kind, text in slice_.keys().items():
            texts.setdefault(kind, Counter())[text] += 1
    of_ids = Counter(ids)
    if label_key != "auto":
        for other, kinds in _KEYS.items():
            if other != label_key:
                count = max(_num_joined(of_ids, texts[kind]) for kind in kinds)
                yield count, f"by --label_key={other}"
    for words, change in _CHANGES_OF_BOTH.items():
        changed = _changed(of_ids, change)
        yield max(_num_joined(changed, _changed(of, change)) for of in texts.values()), words
    for kind in _KEYS["path"]:
        inner = _changed(texts[kind], _without_first_folder)
        yield _num_joined(of_ids, inner), "if --dicom_dir were the folder within it"
    for words, change in _CHANGES_OF_IDS.items():
        changed = _changed(of_ids, change)
        yield max(_num_joined(changed, of) for of in texts.values()), words
    few = Counter(ids[:_AFFIX_TRIALS])
    for of in texts.values():
        for affixes in _affixes(ids, [*of]):
            # Many beginnings are possible; most join none of the first ids.
            if _num_joined(_changed(few, affixes.change), of):
                yield _num_joined(_changed(of_ids, affixes.change), of), affixes.words()


@dataclass(frozen=True)
class _Affixes:
    """Beginnings and ends of ids: those that they have, and those that they should have."""

    begin: str = ""
    end: str = ""
    new_begin: str = ""
    new_end: str = ""

    def change(self, image_id: str) -> str:
        """The id with the other beginning and end; empty if it has not the ones expected."""
        if not (image_id.startswith(self.begin) and image_id.endswith(self.end)):
            return ""
        inner = image_id[len(self.begin) : len(image_id) - len(self.end)]
        return self.new_begin + inner + self.new_end

    def words(self) -> str:
        """The words of the rule."""
        parts = []
        for verb, old, new in (
            ("begin", self.begin, self.new_begin),
            ("end", self.end, self.new_end),
        ):
            past = {"begin": "began", "end": "ended"}[verb]
            if old and new:
                parts.append(f"{past} with {new!r} instead of {old!r}")
            elif new:
                parts.append(f"{past} with {new!r}")
            elif old:
                parts.append(f"did not {verb} with {old!r}")
        return f"if the label CSV's ids {' and '.join(parts)}"


def _affixes(ids: Sequence[str], texts: Sequence[str]) -> Iterator[_Affixes]:
    """Beginnings and ends that may tell ids and texts apart."""
    tried: dict[_Affixes, None] = {}
    for image_id in ids[:_AFFIX_IDS]:
        holders = (text for text in texts if image_id in text and image_id != text)
        for text, _ in zip(holders, range(_AFFIX_NAMES), strict=False):
            begin, end = text.split(image_id, 1)
            tried[_Affixes(new_begin=begin, new_end=end)] = None
    for text in texts[:_AFFIX_IDS]:
        holders = (image_id for image_id in ids if text in image_id and image_id != text)
        for image_id, _ in zip(holders, range(_AFFIX_NAMES), strict=False):
            begin, end = image_id.split(text, 1)
            tried[_Affixes(begin=begin, end=end)] = None
    for begin in _beginnings(ids):
        for new_begin in _beginnings(texts):
            if begin and new_begin and begin != new_begin:
                tried[_Affixes(begin=begin, new_begin=new_begin)] = None
    yield from tried


def _beginnings(texts: Sequence[str]) -> list[str]:
    """Common beginnings of texts that are no part of a number."""
    lowest, highest = min(texts), max(texts)
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(lowest, highest, strict=False))
    common = "".join(letter for letter, _ in pairs)
    return [*dict.fromkeys([common.rstrip("0123456789"), re.sub(r"[^\W_]+$", "", common)])]


def _changed(texts: Counter[str], change: Callable[[str], str]) -> Counter[str]:
    """Numbers of texts after a change, which may make several alike."""
    changed: Counter[str] = Counter()
    for text, count in texts.items():
        changed[change(text)] += count
    return changed


def _num_joined(ids: Counter[str], texts: Counter[str]) -> int:
    """Number of ids that name one text, where no other id does."""
    return sum(count == 1 == texts.get(image_id, 0) for image_id, count in ids.items() if image_id)


def _without_folder(text: str) -> str:
    return re.split(r"[/\\]", text)[-1]


def _without_first_folder(text: str) -> str:
    return text.partition("/")[2] or text


def _without_extension(text: str) -> str:
    return re.sub(r"(?<=[^/\\])\.[^./\\]+$", "", text)


def _one_case(text: str) -> str:
    return text.casefold()


def _no_leading_zeros(text: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def _one_separator(text: str) -> str:
    return re.sub(r"[-_ ]", "-", text)


def _one_unicode_form(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _alike(text: str) -> str:
    return _one_unicode_form(_one_separator(_no_leading_zeros(_one_case(text))))


_CHANGES_OF_BOTH: dict[str, Callable[[str], str]] = {
    "if upper and lower case were alike": _one_case,
    "if leading zeros did not count": _no_leading_zeros,
    "if _, - and spaces were alike": _one_separator,
    "if accents were written alike, as Unicode's form NFC": _one_unicode_form,
    "if upper and lower case, leading zeros, and _, - and spaces did not count": _alike,
}
_CHANGES_OF_IDS: dict[str, Callable[[str], str]] = {
    "if the label CSV's ids had no extension": _without_extension,
    "if the label CSV's ids had no folder": _without_folder,
    "if the label CSV's ids had neither folder nor extension": lambda text: _without_extension(
        _without_folder(text)
    ),
    "if the label CSV's ids had no first folder": _without_first_folder,
    "if the label CSV's ids had / for a backslash": lambda text: text.replace("\\", "/"),
    "if the label CSV's ids had no spaces or quotes around them": lambda text: text.strip(" \t'\""),
}
