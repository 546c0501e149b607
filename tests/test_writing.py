"""Files that are there whole or not at all."""

import json

import pytest

from paperworks.writing import read_json, whole, write_bytes, write_json


def test_a_file_that_fails_leaves_the_older_one_and_nothing_beside_it(tmp_path):
    path = tmp_path / "made" / "note.txt"
    write_bytes(path, b"old")

    def broken_off():
        with whole(path) as part:
            part.write_bytes(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert path.read_bytes() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["note.txt"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "note.txt"
    write_bytes(path, b"old")
    with whole(path) as part:
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert not part.exists()


def test_json_comes_back(tmp_path):
    path = tmp_path / "settings.json"
    write_json(path, {"steps": 5, "channels": (8, 16), "name": "größe"})
    assert read_json(path) == {"steps": 5, "channels": [8, 16], "name": "größe"}


@pytest.mark.parametrize("content", ["", '{"steps": 5', json.dumps([1, 2])])
def test_json_that_is_damaged_or_no_object_is_named(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"settings\.json (cannot be read|must hold)"):
        read_json(path)


def test_json_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"away\.json cannot be read"):
        read_json(tmp_path / "away.json")
