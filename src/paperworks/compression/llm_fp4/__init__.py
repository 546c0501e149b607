"""LLM-FP4: weights and inputs in floating point of few bits, formats and ranges by search.

S. Liu, Z. Liu, X. Huang, P. Dong, K.-T. Cheng, "LLM-FP4: 4-Bit Floating-Point Quantized
Transformers", EMNLP 2023, arXiv:2310.16836. Equations 7 to 9 are the format with a real-valued
exponent bias (:mod:`paperworks.compression.grids`, with the bias as a scale), algorithm 1 and
equation 12 the search (:mod:`.search`), equations 14 to 19 the pre-shifted exponent bias
(``split_bias``, :func:`fold`). ``LLMFP4(per_channel=False)`` is the paper's searched baseline.

What departs from the paper, and why:

- Equation 15 bounds the shifts by 2**(e-1), the text below it by 2**e - 1. The authors' code has
  the latter, and so has this.
- Equation 19 says that the shifted weights are stored in a low-bit format. They do not fit in
  their own: with e exponent bits on both sides, shifts of up to 2**e - 1 take one more. So weights
  are stored unshifted and inputs keep a scale per channel, which costs nothing in this simulation;
  :func:`fold` makes the paper's form, whose outputs are the same bits.
- Algorithm 1 is printed with the inputs first; here, as in the authors' code, the weights come
  first, rounded against inputs at their full range.
- All layers are calibrated on the inputs that the compressed blocks before them give (the walk
  that the methods here share), and on a sample of the rows. The authors calibrate all layers at
  once, on the float model, and on all rows.
- Candidates are ranked before they are compared (see :mod:`.search`); ``shortlist=None`` compares
  all. Ranges of more than twice the largest magnitude are left out: no number has a nearer level
  there than at half the range.
- Linear and Conv2d layers are done, and neither attention's two products, which the paper rounds
  for BERT and ViT but not for LLaMA, nor embeddings and the output head, nor the Hessian metric
  of the paper's appendix A, which it uses for BERT and ViT.

The bias is searched between gammas times that of the full range, as in the paper. That makes the
grid of candidates depend on the unit of a tensor: where the full range happens to have a bias near
0, all candidates are nearly the same. It is kept, since it is the method.
"""

from paperworks.compression.llm_fp4.method import LLMFP4, fold

__all__ = ["LLMFP4", "fold"]
