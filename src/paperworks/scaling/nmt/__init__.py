"""Loss of encoder-decoder Transformers in the sizes of both halves, and BLEU against loss."""
