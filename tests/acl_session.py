"""A model loaded on the simulated pyACL, for tests of the simulator itself."""

import numpy as np

H2D, D2H = 1, 2


class Session:
    """A loaded model with one set of buffers, each call checked."""

    def __init__(self, acl, path):
        self.acl = acl
        assert acl.init() == 0
        assert acl.rt.set_device(0) == 0
        self.context = self.get(acl.rt.create_context(0))
        self.stream = self.get(acl.rt.create_stream())
        self.model = self.get(acl.mdl.load_from_file(str(path)))
        self.desc = acl.mdl.create_desc()
        assert acl.mdl.get_desc(self.desc, self.model) == 0
        count = acl.mdl.get_num_inputs(self.desc)
        sizes = [acl.mdl.get_input_size_by_index(self.desc, i) for i in range(count)]
        self.inputs, self.input_parts = self.dataset(sizes)
        self.outputs, self.output_parts = self.dataset(
            [acl.mdl.get_output_size_by_index(self.desc, 0)]
        )

    @staticmethod
    def get(pair):
        value, code = pair
        assert code == 0
        return value

    def dataset(self, sizes):
        handle, parts = self.acl.mdl.create_dataset(), []
        for size in sizes:
            address = self.get(self.acl.rt.malloc(size, 0))
            buffer = self.acl.create_data_buffer(address, size)
            self.get(self.acl.mdl.add_dataset_buffer(handle, buffer))
            parts.append((address, size, buffer))
        return handle, parts

    def write(self, values):
        address, size, _ = self.input_parts[0]
        return self.acl.rt.memcpy(address, size, values.ctypes.data, values.nbytes, H2D)

    def read(self, shape):
        result = np.empty(shape, np.float32)
        address, _, _ = self.output_parts[0]
        assert (
            self.acl.rt.memcpy(result.ctypes.data, result.nbytes, address, result.nbytes, D2H) == 0
        )
        return result

    def run(self):
        return self.acl.mdl.execute(self.model, self.inputs, self.outputs)

    def close(self):
        acl = self.acl
        for handle, parts in ((self.inputs, self.input_parts), (self.outputs, self.output_parts)):
            for address, _, buffer in parts:
                assert acl.destroy_data_buffer(buffer) == 0
                assert acl.rt.free(address) == 0
            assert acl.mdl.destroy_dataset(handle) == 0
        assert acl.mdl.destroy_desc(self.desc) == 0
        assert acl.mdl.unload(self.model) == 0
        assert acl.rt.destroy_stream(self.stream) == 0
        assert acl.rt.destroy_context(self.context) == 0
        assert acl.rt.reset_device(0) == 0
