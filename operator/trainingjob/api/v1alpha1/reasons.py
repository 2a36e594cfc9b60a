"""Every reason for a failure: its class, and what the user can do. The one table.

A failure is raised in a pod or found by the operator under one of these names; its class decides
about retries, its remedy ends the message in status.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# configuration, data: wrong input, never retried. application: user code, charged to
# policy.retries.application, as is outOfMemory. infrastructure: charged to
# policy.retries.infrastructure. disruption: nobody's fault, retried without charge.
# verdict: an answer rather than a fault.
FailureClass = Literal[
    "configuration",
    "data",
    "application",
    "outOfMemory",
    "infrastructure",
    "disruption",
    "verdict",
]


@dataclass(frozen=True)
class Reason:
    """Why something failed, and what to do.

    ``grace_seconds``: how long it may keep pods from starting before their stage fails. None: as
    long as policy.startupDeadlineSeconds says, since it may well pass by itself.
    """

    failure_class: FailureClass
    remedy: str
    grace_seconds: int | None = None


# A GitOps tool may bring what is missing a moment after the job.
_SOON = 60
# The kubelet has tried five times by then (its back-off is 10, 20, 40 … s): a registry that was
# out of breath has had its chance.
_PULLS = 150


# By name, so that a wrong one is found before anything runs.
ReasonName = Literal[
    "InvalidSpec",
    "SpecTooLarge",
    "NameConflict",
    "StorageUnavailable",
    "InputNotFound",
    "InputUnreadable",
    "InputEmpty",
    "InputNotUtf8",
    "InputMalformed",
    "DuplicateColumns",
    "NoRowsLeft",
    "ColumnNotFound",
    "ExpressionInvalid",
    "StepFailed",
    "CastLosesValues",
    "ColumnsDiffer",
    "ColumnUnreadable",
    "LabelMissing",
    "LabelConstant",
    "LabelHasNulls",
    "LabelInvalid",
    "ClassMissing",
    "TextInvalid",
    "FeatureNotNumeric",
    "FeatureHasNulls",
    "WeightInvalid",
    "SettingUnsuitable",
    "NoFeatures",
    "SplitEmpty",
    "SplitInvalid",
    "DatasetInvalid",
    "ModelMissing",
    "ModelCorrupt",
    "PredictionsInvalid",
    "MetricsInvalid",
    "CheckpointMismatch",
    "BaselineInvalid",
    "MetricUndefined",
    "SelfTestFailed",
    "ScriptMissing",
    "ScriptInvalid",
    "ScriptFailed",
    "CommandNotFound",
    "ModuleMissing",
    "ArgumentsInvalid",
    "PackagesInvalid",
    "PackagesUnreachable",
    "RepositoryInvalid",
    "RepositoryUnreachable",
    "LossNotFinite",
    "ProcessKilled",
    "PeerLost",
    "RendezvousFailed",
    "DiskFull",
    "StorageFailed",
    "KeyUnavailable",
    "PodLost",
    "NodeLost",
    "NoProgress",
    "DeviceFailed",
    "OutOfMemory",
    "StorageLimitExceeded",
    "Disrupted",
    "NodeRefused",
    "StartFailed",
    "InternalError",
    "ImagePullFailed",
    "RegistryUnavailable",
    "ContainerConfigError",
    "InitContainerFailed",
    "ClaimMissing",
    "Unschedulable",
    "SchedulingGated",
    "PodStuck",
    "PodRefused",
    "PodAltered",
    "QuotaExceeded",
    "ServiceAccountMissing",
    "OperatorForbidden",
    "KServeMissing",
    "ApiUnavailable",
    "ResultInvalid",
    "GateFailed",
    "VariantUnavailable",
    "RolloutFailed",
    "DeadlineExceeded",
    "StartupDeadlineExceeded",
]

REASONS: dict[ReasonName, Reason] = {
    # --- the manifest ------------------------------------------------------------------
    "InvalidSpec": Reason(
        "configuration", "correct the manifest, delete the job and apply it again"
    ),
    "SpecTooLarge": Reason(
        "configuration", "shorten the manifest, delete the job and apply it again"
    ),
    "NameConflict": Reason(
        "configuration", "rename the job, or delete the object that is in its way"
    ),
    "StorageUnavailable": Reason("configuration", "check the URI that it names, and its rights"),
    # --- input data --------------------------------------------------------------------
    "InputNotFound": Reason("data", "check the path, and its claim or bucket"),
    "InputUnreadable": Reason("data", "check the permissions, format and integrity of the file"),
    "InputEmpty": Reason("data", "check that the input has rows"),
    "InputNotUtf8": Reason("data", "or convert the file to UTF-8"),
    "InputMalformed": Reason(
        "data", "correct the line, or set preprocess.input.options to how the file is written"
    ),
    "DuplicateColumns": Reason("data", "give every column a name of its own"),
    "NoRowsLeft": Reason("data", "loosen the steps that drop rows, or check the input"),
    "ColumnNotFound": Reason("configuration", "use one of the columns that are there"),
    "ExpressionInvalid": Reason("configuration", "correct the SQL expression"),
    "StepFailed": Reason("data", "correct the step, or the values that it fails on"),
    "CastLosesValues": Reason("data", "or drop the column"),
    "ColumnsDiffer": Reason("data", "give every file the same columns, or read fewer files"),
    "ColumnUnreadable": Reason(
        "data",
        "drop it before other steps, leave it out of task.features, or make what you need of it in "
        "preprocess.script",
    ),
    "LabelMissing": Reason("configuration", "set task.label to one of the columns"),
    "LabelConstant": Reason("data", "check the label column: there is nothing to learn"),
    "LabelHasNulls": Reason("data", "drop those rows with `dropna: {subset: [LABEL]}`"),
    "LabelInvalid": Reason("data", "check task.type, or cast the label"),
    "ClassMissing": Reason(
        "data",
        "bring more rows of it, enlarge the split, or set preprocess.split.rare to keepInTrain",
    ),
    "TextInvalid": Reason("data", "correct the text column in preprocess.steps"),
    "FeatureNotNumeric": Reason("configuration", "or drop what the model should not see"),
    "FeatureHasNulls": Reason("data", "use fillna or dropna on the column"),
    "WeightInvalid": Reason(
        "data", "correct the column in preprocess.steps, by fillna, filter or withColumn"
    ),
    "SettingUnsuitable": Reason("configuration", "change that setting: it does not fit the data"),
    "NoFeatures": Reason("configuration", "keep at least one column besides the label"),
    "SplitEmpty": Reason("data", "enlarge the split's share, or bring more rows"),
    "SplitInvalid": Reason("data", "or set preprocess.split otherwise"),
    # --- artefacts ---------------------------------------------------------------------
    "DatasetInvalid": Reason(
        "data", "check train.dataset.uri, or let a preprocess stage write the dataset"
    ),
    # What code left that ended with exit code 0: it would leave the same again.
    "ModelMissing": Reason(
        "configuration",
        "save the model to $TRAININGJOB_OUTPUT_DIR; "
        "for evaluate, leave model.onnx or predictions.parquet there, or judge it by own code "
        "(evaluate.script)",
    ),
    "ModelCorrupt": Reason("configuration", "check how the training code saves its model"),
    "PredictionsInvalid": Reason(
        "configuration",
        "write predictions.parquet with y_true, y_pred and optionally y_score_<class>",
    ),
    "MetricsInvalid": Reason(
        "configuration",
        'have the code of evaluate write numbers by name, such as {"dice": 0.91}, to '
        "$TRAININGJOB_OUTPUT_DIR/metrics.json",
    ),
    "CheckpointMismatch": Reason(
        "configuration", "rename the job, or delete its checkpoints folder to start over"
    ),
    "BaselineInvalid": Reason("data", "delete the job's accepted folder to compare with nothing"),
    "MetricUndefined": Reason("data", "choose another metric, or bring test rows of every class"),
    "SelfTestFailed": Reason(
        "data",
        "serve it with the versions and on the processors that it was judged with, or train it "
        "again; where there are no such rows, train it with a test split",
    ),
    # --- user code ---------------------------------------------------------------------
    "ScriptMissing": Reason("configuration", "check where the script or the code lies"),
    "ScriptInvalid": Reason("configuration", "correct the script or the code"),
    "ScriptFailed": Reason("application", "see the log for where the code failed"),
    "CommandNotFound": Reason("configuration", "check the command and the image"),
    "ModuleMissing": Reason(
        "configuration", "name it in the stage's requirements, or use an image that has it"
    ),
    "ArgumentsInvalid": Reason("configuration", "correct args or command of the stage"),
    "PackagesInvalid": Reason("configuration", "correct the stage's requirements"),
    "PackagesUnreachable": Reason(
        "infrastructure",
        "check the way to the package index; PIP_INDEX_URL in the stage's env names another one",
    ),
    "RepositoryInvalid": Reason("configuration", "correct code.git of the stage"),
    "RepositoryUnreachable": Reason(
        "infrastructure", "check the way to the git server from where the pods run"
    ),
    "LossNotFinite": Reason(
        "data", "lower the learning rate, scale the features, or check the data for extreme values"
    ),
    # --- infrastructure ----------------------------------------------------------------
    "ProcessKilled": Reason("infrastructure", "see what killed it: often the node's memory"),
    "PeerLost": Reason("infrastructure", "see the pod that failed first"),
    "RendezvousFailed": Reason("infrastructure", "check the network between the pods"),
    "DiskFull": Reason(
        "infrastructure",
        "free space on the storage; where it is /tmp, raise template.scratch.size of the stage",
    ),
    "StorageFailed": Reason("infrastructure", "check the storage"),
    "KeyUnavailable": Reason(
        "infrastructure",
        "check the operator's progress port and its Secret, or leave out evaluate.sealed",
    ),
    "PodLost": Reason("infrastructure", "see the events of the namespace"),
    "NodeLost": Reason("infrastructure", "check the node"),
    "NoProgress": Reason(
        "infrastructure",
        "see the logs of all ranks, or raise policy.stall.afterSeconds",
    ),
    "DeviceFailed": Reason(
        "infrastructure",
        "check the GPU of the pod's node and its driver, and that the image is made for that",
    ),
    "OutOfMemory": Reason("outOfMemory", "raise the memory limit of the stage"),
    "StorageLimitExceeded": Reason(
        "application",
        "write less to /tmp and to emptyDir volumes, or raise template.scratch.size, sizeLimit or "
        "ephemeral-storage",
    ),
    "Disrupted": Reason("disruption", "nothing: it goes on by itself"),
    "NodeRefused": Reason("disruption", "nothing: it goes on by itself, on other nodes if it can"),
    "StartFailed": Reason("infrastructure", "check the runtime, devices and mounts of its node"),
    "InternalError": Reason("application", "see the log, and report it as a bug"),
    # --- pods that do not start ----------------------------------------------------------
    "ImagePullFailed": Reason(
        "configuration", "check the image's name and imagePullSecrets", _PULLS
    ),
    "RegistryUnavailable": Reason(
        "infrastructure", "see to the registry, its limits, the way to it and the node's disk"
    ),
    "ContainerConfigError": Reason("configuration", "check ConfigMaps, Secrets and volumes", _SOON),
    "InitContainerFailed": Reason(
        "infrastructure", "see the log of that container, and who puts it into the pod", _PULLS
    ),
    "ClaimMissing": Reason(
        "configuration", "create the claim in the job's namespace, or correct its name", _SOON
    ),
    "Unschedulable": Reason("infrastructure", "free resources, or ask for less"),
    "SchedulingGated": Reason(
        "infrastructure", "nothing: who has set the gate removes it, as a queue does in its turn"
    ),
    "PodStuck": Reason(
        "infrastructure",
        "check its node; when that is gone for good, delete the pod with --force --grace-period=0",
    ),
    "PodRefused": Reason("configuration", "correct what the API server refused", _SOON),
    "PodAltered": Reason(
        "configuration",
        "have the policy or webhook leave alone labels, annotations and owners of trainingjob.dev",
        _SOON,
    ),
    "QuotaExceeded": Reason(
        "infrastructure", "wait for other pods to end, ask for less, or raise the quota"
    ),
    "ServiceAccountMissing": Reason(
        "configuration", "create the service account in the job's namespace", _SOON
    ),
    "OperatorForbidden": Reason(
        "configuration",
        "give the operator's service account the Role of its chart, for storage.pvc with the value "
        "claims.create, for deploy with the value deploy.enabled, for deploy.kserve with "
        "deploy.kserve.enabled, too",
    ),
    "KServeMissing": Reason(
        "configuration",
        "install KServe, or deploy by deploy.deployment; then rerun deploy",
        _SOON,
    ),
    "ApiUnavailable": Reason("infrastructure", "check the API server and its admission webhooks"),
    # --- results -------------------------------------------------------------------------
    "ResultInvalid": Reason("application", "report it as a bug: the pod's result is unusable"),
    # --- verdicts ------------------------------------------------------------------------
    "GateFailed": Reason("verdict", "improve the model or the data, or move the gate"),
    "VariantUnavailable": Reason(
        "verdict",
        "name another variant, or none for the model itself; or raise "
        "train.export.quantize.int8.maxDrop",
    ),
    "RolloutFailed": Reason(
        "verdict", "mend what the pods say, or raise deploy.deadlineSeconds; then rerun deploy"
    ),
    "DeadlineExceeded": Reason("verdict", "raise policy.activeDeadlineSeconds"),
    "StartupDeadlineExceeded": Reason(
        "verdict", "see why the pods do not start, or raise policy.startupDeadlineSeconds"
    ),
}


def reason_of(name: str) -> ReasonName | None:
    """The reason of that name, which somebody else may have written; None when there is none."""
    return name if name in REASONS else None


# Where a model that was accepted is served, or predicts: no code of a user has just left it.
_OF_ACCEPTED: dict[ReasonName, str] = {
    "InputMalformed": "correct the line, or set the input's options to how the file is written",
    "StepFailed": "correct the values of that row, or train with a step that takes them",
    "ColumnNotFound": "bring the columns that the model was trained on",
    "ModelMissing": "use a model that can be run and that an evaluation has accepted: let the "
    "job run until its gates pass",
    "ModelCorrupt": "use another accepted model, or train it again; nothing may change what is "
    "below accepted/",
}


def remedy_of_accepted(reason: ReasonName) -> str:
    """What to do when an accepted model is not served, or does not predict."""
    return _OF_ACCEPTED.get(reason, REASONS[reason].remedy)


# What a stage that went well may warn of, and what that is.
WARNINGS: dict[str, str] = {
    "ValuesBecameNull": "a step made null of values that it could not convert",
    "ValuesRounded": "numbers have more digits than a double holds",
    "CategoriesUnseen": "held-out rows have categories that the training split has not",
    "ReadAsText": "a column is text though most of its values, or all, are digits",
    "BlanksKept": "texts of CSV have blanks around them, which are part of the values",
    "ColumnLeftOut": "a column of the files is none of the data: the index of a pandas frame, or "
    "one that a query or a join cannot hold",
    "RowsRepeated": "a join repeats rows: keys have several rows in the table",
    "RowsUnpredicted": "the model makes nothing of some rows: their predictions are null",
    "RowsShared": "rows that the data has for the test are in the training split, too",
    "RowsUnmatched": "rows have no match in the table that a step joins",
    "ColumnAbsent": "a column is not in every file: null in the rows of the others",
    "FilesEmpty": "files of texts are empty, and no documents",
    "IndexColumn": "a column looks like the index of the frame that the file was written from",
    "NamesBelow": "columns of CSV have no name in the first line, and a later one looks like names",
    "NamesMissing": "the first line of CSV looks like values, and is read as names",
    "TotalsRow": "the last row of CSV looks like the sum of those above it",
    "LabelLeaked": "a feature alone tells the label",
    "IdLikeFeature": "a feature has another value in every row",
    "ConstantFeature": "a feature has one value in every row",
    "ClassRare": "a class is too rare to be in every split",
    "ClassesAlike": "classes differ only in case, or in the blanks around them",
    "SplitStratified": "without stratify a split would have had no row of a class",
    "SplitUneven": "groups, or rows of one time, are too large for the shares that were asked for",
    "SplitsMixed": "the input has train and test, which are put together and divided anew",
    "ModelElsewhere": "own code left files, and saved what may be its model elsewhere",
    "ModelNotChecked": "the image runs as it stands, and nobody looked whether a model is there",
    "MoreWarnings": "there are more, in the log",
}
