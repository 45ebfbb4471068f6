import platform
import re
import tempfile
from pathlib import Path

import pytest

from adnet.errors import UsageError
from adnet.export.ascend.atc_config import AtcConfig, aipp_text

FILES = ["--keep_dtype", "--modify_mixlist", "--customize_dtypes", "--op_precision_mode",
         "--fusion_switch_file", "--compress_weight_conf", "--op_debug_config"]  # fmt: skip
FOLDERS = ["--debug_dir", "--op_bank_path", "--mdl_bank_path"]
HERE = [*FOLDERS, "--op_compiler_cache_dir", "--check_report", "--compression_optimize_conf"]
BSD68 = ((321, 481), (481, 321))


def arguments(**options):
    config = AtcConfig(**({"soc": "Ascend310P3"} | options))
    return config.arguments()


def values(**options):
    return dict(argument.split("=", 1) for argument in arguments(**options))


def test_a_static_model_is_the_vendors_recipe():
    assert arguments() == [
        "--model=model.onnx", "--framework=5", "--output=converted", "--input_format=NCHW",
        "--input_shape=image:1,1,321,481", "--soc_version=Ascend310P3", "--log=error",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"batches": (1, 4, 8, 16)},
            {"--input_shape": "image:-1,1,321,481", "--dynamic_batch_size": "1,4,8,16"},
        ),
        (
            {"sizes": BSD68, "batches": (4,)},
            {"--input_shape": "image:4,1,-1,-1", "--dynamic_image_size": "321,481;481,321",
             "--input_format": "NCHW"},
        ),
        (
            {"sizes": BSD68, "batches": (1, 8)},
            {"--input_shape": "image:-1,1,-1,-1", "--input_format": "ND",
             "--dynamic_dims": "1,321,481;1,481,321;8,321,481;8,481,321"},
        ),
        ({"channels": 3}, {"--input_shape": "image:1,3,321,481"}),
        ({"precision_mode": "origin"}, {"--precision_mode_v2": "origin"}),
        ({"precision_mode": "must_keep_origin_dtype"},
         {"--precision_mode": "must_keep_origin_dtype"}),
        ({"io": "fp16"}, {"--input_fp16_nodes": "image", "--output_type": "FP16"}),
        ({"io": "uint8"}, {"--insert_op_conf": "aipp.cfg", "--enable_small_channel": "1"}),
        ({"op_cache": True}, {"--op_compiler_cache_mode": "enable"}),
        ({"virtual_type": True}, {"--virtual_type": "1"}),
        ({"extra": ("--debug_dir=/tmp",)}, {"--debug_dir": "/tmp"}),
    ],
)  # fmt: skip
def test_what_each_option_becomes(options, expected):
    got = values(**options)
    assert {flag: got.get(flag) for flag in expected} == expected
    # At most one way to vary shapes, at most one spelling of the precision (E10009, E10056).
    varying = {"--dynamic_batch_size", "--dynamic_image_size", "--dynamic_dims"} & got.keys()
    assert len(varying) == (AtcConfig("Ascend310P3", **options).gears != "static")
    assert len({"--precision_mode", "--precision_mode_v2"} & got.keys()) <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"soc": "310P3"}, "Did you mean Ascend310P3"),
        ({"soc": "ascend910b4"}, "Did you mean Ascend910B4"),
        ({"soc": "Ascend 310P3"}, "Did you mean Ascend310P3"),
        ({"soc": "Ascend999"}, "no chip's name .*Known: Ascend310, .*--any-soc"),
        ({"soc": "Ascend910B5X"}, "no chip's name"),
        ({"soc": "Ascned310P3"}, "Did you mean Ascend310P"),
        ({"soc": "Ascend950PR_957"}, "Did you mean Ascend950PR_957"),
        ({"soc": "a b", "any_soc": True}, "letters, digits"),
        ({"batches": ()}, "at least one"),
        ({"batches": (1, 4, 1)}, "given twice in 1, 4, 1"),
        ({"sizes": ((321, 481), (321, 481))}, "given twice in 321x481"),
        ({"batches": (0,)}, "at least 1"),
        ({"batches": tuple(range(1, 102))}, "101 gears are more than ATC's 100"),
        ({"precision_mode": "fp8"}, "mixed_float16"),
        ({"io": "uint8", "sizes": BSD68, "batches": (1, 2)}, "AIPP, which ATC does not combine"),
        ({"io": "uint8", "sizes": ((321, 5000),)}, "got 5000x321"),
        ({"precision_mode": "mixed_bfloat16"}, "has no bfloat16"),
        ({"input_name": "image-1"}, "would misread"),
        ({"input_name": "a:b"}, "would misread"),
        ({"extra": ("debug",)}, "expected --flag=value"),
        ({"extra": ("--soc_version=Ascend310",)}, "sets it itself"),
        ({"extra": ("--precision_mode=force_fp16",)}, "sets it itself"),
        ({"extra": ("--dynamic_dims=1,2",)}, "sets it itself"),
        ({"extra": ("--save_original_model=true",)}, "sets it itself"),
        ({"extra": ("--deterministic=1", "--deterministic=0")}, "given twice"),
        ({"extra": ("--external_weight=1",)}, "beside the OM"),
        ({"extra": ("--external_weight=2",)}, "beside the OM"),
        ({"extra": ("--external_weight=0",)}, "beside the OM"),
        *[({"extra": (f"{flag}=none.cfg",)}, "no such file") for flag in FILES],
        *[({"extra": (f"{flag}=here",)}, f"give the full path, {flag}=/.*here") for flag in HERE],
        *[({"extra": (f"{flag}=/nowhere/at all",)}, "no such folder") for flag in FOLDERS],
    ],
)  # fmt: skip
def test_what_atc_would_refuse_is_refused_first(options, message):
    with pytest.raises(UsageError, match=message):
        AtcConfig(**({"soc": "Ascend310P3"} | options))


@pytest.mark.parametrize("flag", FILES)
@pytest.mark.parametrize("name", ["f.cfg", "an odd (näme)", "x.a b"])
def test_files_lie_beside_the_model_under_a_plain_name(tmp_path, monkeypatch, flag, name):
    (tmp_path / name).write_text("what it says")
    monkeypatch.chdir(tmp_path)
    for given in (name, str(tmp_path / name)):
        config = AtcConfig("Ascend310P3", extra=(f"{flag}={given}",))
        (written,) = config.write_files(Path(tempfile.mkdtemp(dir=tmp_path)))
        assert config.arguments()[-1] == f"{flag}={written}"
        assert re.fullmatch("[a-z_]+([.]cfg)?", written)
    assert [path.read_text() for path in tmp_path.glob(f"*/{written}")] == ["what it says"] * 2
    (tmp_path / name).unlink()
    with pytest.raises(UsageError, match="No such file"):
        config.write_files(tmp_path)


def test_only_flags_of_files_name_files(tmp_path, monkeypatch):
    for name in ("1", "O3", "high_precision"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    extra = ("--disable_reuse_memory=1", "--oo_level=O3", "--op_select_implmode=high_precision")
    config = AtcConfig("Ascend310P3", extra=extra)
    assert tuple(config.arguments()[-3:]) == extra
    assert config.write_files(tmp_path) == []


def test_what_is_seldom_meant_is_said():
    assert "Ascend910B1 to Ascend910B4" in AtcConfig("Ascend910B").warnings[0]
    assert "not in adnet's list" in AtcConfig("Ascend310P9").warnings[0]
    assert "not in adnet's list" in AtcConfig("Ascend999", any_soc=True).warnings[0]
    sizes = ((321, 481), (481, 321))
    assert "3 to 4" in AtcConfig("Ascend310P3", sizes=sizes, batches=(1, 2, 4)).warnings[0]
    config = AtcConfig("Ascend310P3", precision_mode="force_fp32")
    assert "multiplies in float16" in config.warnings[0]
    assert "cannot serve as tiles" in AtcConfig("Ascend310P3", sizes=((40, 500),)).warnings[0]
    for size, batch in (((10_000, 10_000), 1), ((1080, 1920), 64), ((10**8, 10**6), 1)):
        config = AtcConfig("Ascend310P3", sizes=(size,), batches=(batch,))
        assert "GiB on the device" in config.warnings[-1]
    assert AtcConfig("Ascend310P3", sizes=((4320, 7680),)).warnings == []
    config = AtcConfig("Ascend310P3", precision_mode="origin")
    assert "float16 only" in config.warnings[0]
    for mode in ("origin", "mixed_bfloat16"):
        assert AtcConfig("Ascend910B4", precision_mode=mode).warnings == []


def test_aipp_for_gray_and_colour():
    gray = aipp_text(AtcConfig("Ascend310P3", io="uint8"))
    assert gray == (
        "aipp_op {\n    aipp_mode: static\n    related_input_rank: 0\n"
        "    input_format: YUV400_U8\n    csc_switch: false\n    src_image_size_w: 481\n"
        "    src_image_size_h: 321\n    mean_chn_0: 0\n    min_chn_0: 0.0\n"
        "    var_reci_chn_0: 0.00392157\n}\n"
    )
    colour = aipp_text(AtcConfig("Ascend310P3", channels=3, io="uint8", sizes=BSD68))
    assert "RGB888_U8" in colour
    assert "var_reci_chn_2: 0.00392157" in colour
    assert "src_image_size_w: 0" in colour


@pytest.mark.parametrize("name", ["Ascend910B3", "Ascend910_9399", "Ascend950PR_957b",
                                  "Ascend950DT_95A1", "Ascend310B7"])  # fmt: skip
def test_members_of_the_families_are_taken(name):
    assert AtcConfig(name).soc == name


@pytest.mark.parametrize("below", ["compiler", f"{platform.machine()}-linux"])
def test_a_chip_that_the_installed_cann_knows_is_taken(tmp_path, monkeypatch, below):
    folder = tmp_path / below / "data" / "platform_config"
    folder.mkdir(parents=True)
    (folder / "Ascend999.ini").touch()
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    assert AtcConfig("Ascend999").warnings == []
    with pytest.raises(UsageError, match="Did you mean Ascend999"):
        AtcConfig("Ascend99")
