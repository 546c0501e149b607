"""What packed weights and rounded inputs do to memory: where codes lie, and vector instructions.

``layout`` says where codes lie, ``tables`` which decoding fits a table of levels, ``decoding``
writes levels to memory, ``products`` multiplies rows of input with weights decoded in registers,
``inputs`` rounds inputs.
"""
