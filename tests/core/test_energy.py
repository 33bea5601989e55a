"""The processor's own energy counters, in a folder like the system's."""

from striate.core.energy import Meter


def zone(root, name, kind, used, most=1_000_000):
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "name").write_text(kind + "\n")
    (root / name / "energy_uj").write_text(str(used))
    (root / name / "max_energy_range_uj").write_text(str(most))


def test_packages_are_added_and_counters_start_again(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 100_000)
    zone(tmp_path, "intel-rapl:1", "psys", 0)
    zone(tmp_path, "intel-rapl:2", "package-1", 900_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 0)
    meter = Meter(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 400_000)
    zone(tmp_path, "intel-rapl:1", "psys", 999_999)
    zone(tmp_path, "intel-rapl:2", "package-1", 100_000)  # over the end
    assert abs(meter.read(now=True) - 0.5) < 1e-9
    assert meter.read() == meter.read(now=True)


def test_where_there_are_none(tmp_path):
    assert Meter(tmp_path / "nothing").read(now=True) is None
    zone(tmp_path, "intel-rapl:0", "package-0", "x")
    assert Meter(tmp_path).read(now=True) is None
