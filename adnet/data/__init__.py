"""Training data before training: image sets, pairs, HDF5 stores. No torch.

`cli` is adnet-data. `datasets` fetches public image sets, `patch_store` cuts images into HDF5
stores, `pairs` reads photographs of one scene, noisy and clean, `folders` says which images of a
folder are data, `distinct` leaves out what comes twice, `held_out` keeps some aside.
"""
