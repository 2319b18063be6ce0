"""Words that the project does not use, each with the standard term to write instead: the one place to add to.

A word is added once the last place that has it is rewritten. It is a regular expression that matches whole words,
in any case of letters unless the entry is a former name of the code's.
"""

from __future__ import annotations

PROSE = {
    r"newcomers?": "new connections, new requests",
    r"turn(?:s|ed|ing)? (?:\w+ )?away": "refuse",
    r"what (?:is|was) read last is understood": "decode the previous group while the next one is read",
    r"(?:is|was) no model for that": "does not have the inputs and outputs that this stage needs",
    r"the log has it": "internal error; see the server log, request id ...",
    r"one of them spoils it": "the batch failed: run each request alone to find the one at fault",
    r"who has left": "a client that has disconnected",
    r"what is left of the deadline": "the time that remains until the deadline",
    r"requests?, none failed|questions?, none failed": "requests, 0 errors",
    r"half made connections?": "connections that have not sent a request yet",
    r"in vain": "without success; a wait times out",
    r"ought to": "should, must",
    r"lest": "so that ... not",
    r"save for": "except for",
    r"whence|thence|hence|hitherto|thereof|therein|hereby|henceforth|wherein|whereby": "from there, so, until now, ...",
    r"nought|naught|albeit|betimes|nigh|twain|ere": "nothing, although, early, near, two, before",
    r"no wiser": "does not know",
    r"whom": "which caller, which service",
    r"for nobody": "once the client has disconnected",
}
# A former name of the code, and the one that took its place.
FORMER_NAMES = {
    r"Exchange": "RequestContext",
    r"DataPlane|ToyPlane": "OnnxBackend, FakeBackend",
    r"dataplane": "onnx_backend",
    r"ModelBroken": "ModelLoadError",
    r"ClientGone": "ClientDisconnected",
    r"Unanswered": "RetryableError",
    r"DirectCall": "DirectRequestCycle",
    r"InferResult": "PredictorResponse",
    r"Attended": "cancel_on_disconnect",
    r"Offload": "BoundedExecutor",
    r"safe_headers": "headers_to_send",
    r"max_answer_bytes": "max_response_bytes",
    r"JobOver|JobPolicy": "JobFinished; MemoryJobStore, InProcessJobs, HandOver",
    r"imagenet_lite0_whole": "imagenet_lite0_end_to_end, variant end_to_end",
    r"NoStandIn": "NoLocalSubstitute",
    r"EngineMissing|ClusterMissing|ImageMissing": "EngineUnavailable, ClusterUnavailable, ImageNotFound",
    r"PortTaken|NotUp": "PortInUse, StackNotRunning",
    r"iris_table": "iris_dataset",
    r"http_protocol|direct_call|grpc_server\.py": "common/http/protocol.py, common/http/cycle.py, common/endpoints/",
}
