"""Points of the scaling model, as `--measure` found them on the machine that docs/scaling.md names.

    FITTED, CHECKED --scaling_model.py--> costs, errors

Decides nothing.
"""

from ebpflb.bench.scaling_model import Point

FITTED = (
    Point(
        services=500,
        endpoints=1000,
        resident_bytes=1.08995e08,
        start_cpu_s=1.53,
        start_s=2.87053,
        map_bytes=1.1278e07,
        change_s=0.00527111,
        change_cpu_s=0.0065,
        burst_event_s=0.000622293,
    ),
    Point(
        services=2000,
        endpoints=20000,
        resident_bytes=1.33857e08,
        start_cpu_s=2.32,
        start_s=4.34814,
        map_bytes=1.1962e07,
        change_s=0.00617811,
        change_cpu_s=0.0075,
        burst_event_s=0.000875929,
    ),
    Point(
        services=5000,
        endpoints=10000,
        resident_bytes=1.30122e08,
        start_cpu_s=2.33,
        start_s=2.8592,
        map_bytes=1.333e07,
        change_s=0.00423463,
        change_cpu_s=0.0075,
        burst_event_s=0.000752733,
    ),
    Point(
        services=10000,
        endpoints=100000,
        resident_bytes=2.44683e08,
        start_cpu_s=5.11,
        start_s=5.29107,
        map_bytes=1.561e07,
        change_s=0.00512469,
        change_cpu_s=0.0125,
        burst_event_s=0.0010945,
    ),
)
CHECKED = (
    Point(
        services=5000,
        endpoints=50000,
        resident_bytes=1.7589e08,
        start_cpu_s=3.33,
        start_s=5.61075,
        map_bytes=1.333e07,
        change_s=0.00716006,
        change_cpu_s=0.01,
        burst_event_s=0.00206389,
    ),
    Point(
        services=20000,
        endpoints=100000,
        resident_bytes=2.75358e08,
        start_cpu_s=7.3,
        start_s=13.0116,
        map_bytes=2.017e07,
        change_s=0.00400527,
        change_cpu_s=0.01625,
        burst_event_s=0.00090603,
    ),
)
