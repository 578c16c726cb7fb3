from algorithm_factory import FILES, manifest

from malan.training.package import ask_for_data, check_files, declare_outputs, pack_files, package_of, unpack_files


def test_a_sound_package_is_read() -> None:
    package = package_of(FILES)
    assert package.reference == "lines@1.0.0"
    assert package.entry["train"] == "algorithm:train"
    assert ask_for_data(package, {"label_set": "mood"}).labels == "mood"


def test_sizes_follow_from_parameters_and_facts() -> None:
    declared = declare_outputs(package_of(FILES), {"hidden": 2}, {"classes": ["a", "b", "c"], "descriptor": 8})["model"]
    assert declared.slots["weight"].shape == (3, 8)
    assert [name for name in declared.slots if name.startswith("layer")] == ["layer.0.w", "layer.1.w"]
    assert declared.max_bytes == declared.needed_bytes


def test_all_problems_are_told_at_once_with_their_lines() -> None:
    text = manifest().replace('licence = "Apache-2.0"', 'license = "Apache-2.0"').replace("max = 512", 'max = "many"')
    report = check_files(FILES | {"algorithm.toml": text.encode()})
    assert report.package is None
    assert [problem.code for problem in report.problems] == [
        "algorithm.missing_key",
        "algorithm.unknown_key",
        "algorithm.wrong_type",
    ]
    assert report.problems[1].values["place"] == "algorithm.toml:4"


def test_what_is_packed_comes_back() -> None:
    package = package_of(FILES)
    assert unpack_files(pack_files(FILES), package.digest) == dict(FILES)
