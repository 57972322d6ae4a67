"""Names of the layers by which a network is taken apart."""

FEATURE_LAYER = "feature"
LOGITS_LAYER = "logits"
DECODER_LAYER = "decoder"
MASK_LOGITS_LAYER = "mask_logits"
SLICE_LOGITS_LAYER = "slice_logits"
