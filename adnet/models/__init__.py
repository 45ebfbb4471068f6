"""The model file: the network, its card, and every kind of file that holds them.

Read in this order: `card` (what a model is), `architecture` (its shape in numbers), `network` (the
same in PyTorch), then the files: `files` (which kind one is), `checkpoint` (.pth), `onnx_file`
(.onnx) and `onnx_network` (the same in PyTorch), `om_file` (.om and the JSON beside it).
`structure` proves that an ONNX graph is ADNet; `shipped` finds the weights that come with the
package.
"""
