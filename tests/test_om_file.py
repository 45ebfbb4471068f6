import numpy as np
import pytest
from fakes.om_writer import om_bytes

from adnet.errors import ModelError
from adnet.export.inspect_model import describe, inspect_file
from adnet.om_file import HEADER, HEADER_SIZE, read_om

ATTRIBUTES = {
    "atc_cmdline": "atc --model=m.onnx " + "--flag=value " * 40,  # longer than one length byte
    "soc_version": "Ascend310P3",
    "opp_version": "6.4.T5.0.B121",
}


@pytest.fixture
def om(tmp_path):
    path = tmp_path / "m.om"
    path.write_bytes(om_bytes("adnet", ATTRIBUTES, b"onnx" * 100))
    return path


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_both_layouts_are_read(tmp_path, wide, dynamic):
    path = tmp_path / "m.om"
    content = om_bytes("adnet", ATTRIBUTES, b"onnx" * 100, dynamic=dynamic, wide=wide)
    path.write_bytes(content)
    om = read_om(path)
    assert (om.name, om.models, om.size) == ("adnet", 1, len(content))
    assert (om.is_dynamic, om.is_host_bound) == (dynamic, False)
    assert om.attributes == ATTRIBUTES
    assert [part.name for part in om.partitions] == ["model definition", "weights", "task info"]
    weights = om.partitions[1]
    assert content[weights.offset : weights.offset + weights.size] == b"onnx" * 100


def test_the_header_has_the_documented_size_and_places():
    assert HEADER.size == HEADER_SIZE
    header = om_bytes("n", {}, b"")[:256]
    assert header[:4] == b"IMOD"
    assert int.from_bytes(header[4:8], "little") == 256
    assert header[84:85] == b"n"
    assert int.from_bytes(header[156:160], "little") == 1  # model_num
    assert int.from_bytes(header[184:192], "little") == len(om_bytes("n", {}, b"")) - 256


def test_every_truncation_is_noticed(om, tmp_path):
    content = om.read_bytes()
    for length in [*range(0, 300, 7), *range(300, len(content), 41)]:
        (tmp_path / "short.om").write_bytes(content[:length])
        with pytest.raises(ModelError, match="not an OM|truncated"):
            read_om(tmp_path / "short.om")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: b"ONNX" + c[4:], r"begins with b'ONNX'"),
        (lambda c: b"PK\x03\x04" + c[4:], "OM2 package"),
        (lambda c: c[:256] + b"\xff\xff\xff\x7f" + c[260:], "partitions does not fit"),
        (lambda c: c[:272] + b"\xff" * 8 + c[280:], "reaches beyond the end"),
        (lambda c: c[:156] + b"\x02\0\0\0" + c[160:], "beyond the end"),
    ],
)
def test_what_is_damaged_is_named(om, change, message):
    om.write_bytes(change(om.read_bytes()))
    with pytest.raises(ModelError, match=message):
        read_om(om)


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"none\.om: cannot be read: No such file"):
        read_om(tmp_path / "none.om")


def test_mutated_files_get_an_answer_or_a_clear_error(om, tmp_path):
    """1,000 files with bytes changed, cut out, doubled or swapped: never a traceback or a hang."""
    random = np.random.default_rng(0)
    content = np.frombuffer(om.read_bytes(), np.uint8)
    path = tmp_path / "mutated.om"
    refused = 0
    for _ in range(1000):
        changed = content.copy()
        # Half of the changes hit the header and the table, where they can do most.
        limit = 400 if random.random() < 0.5 else changed.size
        for place in random.integers(0, limit, random.integers(1, 6)):
            changed[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.integers(256)])
        kind = random.integers(4)
        start, stop = np.sort(random.integers(0, changed.size, 2))
        if kind == 0:
            changed = np.delete(changed, slice(start, stop))
        elif kind == 1:
            changed = np.concatenate([changed[:stop], changed[start:]])
        path.write_bytes(changed.tobytes())
        message = None
        try:
            describe(inspect_file(path))
        except ModelError as err:
            message = str(err)
        if message is not None:
            assert str(path) in message
            refused += 1
    assert 300 < refused < 1000
