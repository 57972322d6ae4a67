"""Items of two checklists for reports on models, in short words of our own.

CLAIM 2024: Tejani et al. 2024, Radiology: Artificial Intelligence 6(4), doi:10.1148/ryai.240300.
TRIPOD+AI: Collins et al. 2024, BMJ 385, e078378, doi:10.1136/bmj-2023-078378. The published texts
count, and say more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChecklistItem:
    """An item of a checklist.

    Attributes:
      number: Its number, such as `3` or `3a`.
      section: Part of a report that it belongs to.
      text: What it asks for.
      fact: Name of the fact that answers it (`checklist_facts`); empty if no file of a run does.
    """

    number: str
    section: str
    text: str
    fact: str = ""


def _items(section: str, *rows: tuple[str, str, str]) -> tuple[ChecklistItem, ...]:
    return tuple(ChecklistItem(number, section, text, fact) for number, text, fact in rows)


CLAIM = (
    *_items(
        "Title, abstract",
        ("1", "the kind of AI is named", "kind"),
        ("2", "structured summary of design, methods, results and conclusions", ""),
    ),
    *_items(
        "Introduction",
        ("3", "background, intended use and clinical role", ""),
        ("4", "aims, objectives and hypotheses", ""),
    ),
    *_items(
        "Study design",
        ("5", "prospective or retrospective", ""),
        ("6", "goal of the study", ""),
    ),
    *_items(
        "Data",
        ("7", "sources of the data", "data"),
        ("8", "who is included and excluded", ""),
        ("9", "preprocessing", "preprocessing"),
        ("10", "choice of parts of the data", "chosen"),
        ("11", "de-identification", "identity"),
        ("12", "missing data", "missing"),
        ("13", "how images were acquired", "acquisition"),
    ),
    *_items(
        "Reference standard",
        ("14", "how the reference standard was obtained", "reference"),
        ("15", "why this reference standard", ""),
        ("16", "who annotated, and with what training", ""),
        ("17", "annotation of the test set", ""),
        ("18", "variability within and between annotators", ""),
    ),
    *_items(
        "Data partitions",
        ("19", "how data were assigned to partitions", "partitions"),
        ("20", "level at which partitions are disjoint", "disjoint"),
    ),
    *_items("Testing data", ("21", "intended size of the sample", "")),
    *_items(
        "Model",
        ("22", "description of the model, its input and output", "model"),
        ("23", "software and versions", "software"),
        ("24", "initial weights", "initial"),
    ),
    *_items(
        "Training",
        ("25", "training: augmentation, hyperparameters, number of models", "training"),
        ("26", "how the final model was chosen", "selection"),
        ("27", "ensembles", "ensemble"),
    ),
    *_items(
        "Evaluation",
        ("28", "metrics", "metrics"),
        ("29", "uncertainty and significance", "uncertainty"),
        ("30", "robustness, sensitivity", "robustness"),
        ("31", "explanations", "explanations"),
        ("32", "evaluation on internal data", "internal"),
        ("33", "testing on external data", "external"),
        ("34", "registration of a trial", ""),
    ),
    *_items(
        "Results",
        ("35", "numbers included and excluded", "numbers"),
        ("36", "demographic and clinical characteristics of each partition", "characteristics"),
        ("37", "performance with its uncertainty", "performance"),
        ("38", "diagnostic accuracy with its precision", "accuracy"),
        ("39", "analysis of failures", "failures"),
    ),
    *_items(
        "Discussion",
        ("40", "limitations", "limitations"),
        ("41", "implications for practice", ""),
    ),
    *_items(
        "Other information",
        ("42", "protocol or further technical details", ""),
        ("43", "availability of software, model and data", "availability"),
        ("44", "funding and the role of funders", ""),
    ),
)

TRIPOD_AI = (
    *_items(
        "Title, abstract",
        ("1", "development or evaluation of a model, population and outcome are named", ""),
        ("2", "abstract as TRIPOD+AI for Abstracts asks for", ""),
    ),
    *_items(
        "Introduction",
        ("3a", "healthcare context, purpose, earlier models", ""),
        ("3b", "target population, users, place in care", ""),
        ("3c", "known health inequalities between groups", ""),
        ("4", "objectives: development, evaluation or both", ""),
    ),
    *_items(
        "Methods",
        ("5a", "sources of the data, and how representative they are", "data"),
        ("5b", "dates of the data", ""),
        ("6a", "setting, number and places of centres", ""),
        ("6b", "eligibility", ""),
        ("6c", "treatments", ""),
        ("7", "preparation and quality checks of the data", "preprocessing"),
        ("8a", "the outcome, its time, how it was assessed", "reference"),
        ("8b", "qualification of those who assessed it", ""),
        ("8c", "blinding of the assessment", ""),
        ("9a", "choice of predictors", "predictors"),
        ("9b", "definition and time of the predictors", "acquisition"),
        ("9c", "qualification of those who assessed predictors", ""),
        ("10", "size of the sample, and why", ""),
        ("11", "missing data", "missing"),
        ("12a", "use of the data for development and evaluation", "partitions"),
        ("12b", "how predictors were handled", "preprocessing"),
        ("12c", "type of model, building, hyperparameters, internal validation", "training"),
        ("12d", "heterogeneity between clusters, such as hospitals", ""),
        ("12e", "measures of performance", "metrics"),
        ("12f", "updating of the model, such as recalibration", "calibration"),
        ("12g", "how predictions were calculated", "model"),
        ("13", "class imbalance", "imbalance"),
        ("14", "fairness", "robustness"),
        ("15", "output, and how thresholds were chosen", "output"),
        ("16", "differences between training and evaluation data", "seen"),
        ("17", "ethical approval and consent", ""),
    ),
    *_items(
        "Open science",
        ("18a", "funding", ""),
        ("18b", "conflicts of interest", ""),
        ("18c", "protocol", ""),
        ("18d", "registration", ""),
        ("18e", "availability of the data", ""),
        ("18f", "availability of the code", "availability"),
        ("19", "involvement of patients and the public", ""),
    ),
    *_items(
        "Results",
        ("20a", "flow of participants, with and without the outcome", "numbers"),
        ("20b", "characteristics, by source", "characteristics"),
        ("20c", "evaluation data beside development data", ""),
        ("21", "numbers of participants and outcomes in each analysis", "outcomes"),
        ("22", "the full model, for others to predict with", "specification"),
        ("23a", "performance with intervals, of key groups, too", "performance"),
        ("23b", "heterogeneity of performance between clusters", "clusters"),
        ("24", "results of updating", "calibration"),
    ),
    *_items(
        "Discussion",
        ("25", "interpretation, fairness included", ""),
        ("26", "limitations", "limitations"),
        ("27a", "inputs of poor quality or unavailable, when in use", "poor_input"),
        ("27b", "interaction and expertise that use needs", ""),
        ("27c", "next steps for research", ""),
    ),
)
