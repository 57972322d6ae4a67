"""What a structured report by TID 1500 says."""

import pydicom


def groups(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    """The measurement groups of a report (TID 1411, 1501)."""
    (measurements,) = [
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    return list(measurements.ContentSequence)


def numbers(group: pydicom.Dataset) -> dict[str, float]:
    """Names and values of a group's measurements."""
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(
            item.MeasuredValueSequence[0].NumericValue
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
