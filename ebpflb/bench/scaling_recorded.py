"""Points of the scaling model, as `--measure` found them where docs/scaling.md says.

    FITTED, CHECKED --scaling_model.py--> costs, errors

Decides nothing.
"""

from ebpflb.bench.scaling_model import Point

FITTED = (
    Point(
        services=500,
        endpoints=1000,
        resident_bytes=72224800.0,
        start_cpu_s=0.94,
        start_s=1.04648,
        map_bytes=11278000.0,
        change_s=0.00241888,
        change_cpu_s=0.00701868,
        burst_event_s=0.000421835,
    ),
    Point(
        services=2000,
        endpoints=20000,
        resident_bytes=75776000.0,
        start_cpu_s=1.44,
        start_s=1.52769,
        map_bytes=11962000.0,
        change_s=0.00401387,
        change_cpu_s=0.00846919,
        burst_event_s=0.000754689,
    ),
    Point(
        services=5000,
        endpoints=10000,
        resident_bytes=79597600.0,
        start_cpu_s=1.51,
        start_s=1.66397,
        map_bytes=13330000.0,
        change_s=0.00320228,
        change_cpu_s=0.00850564,
        burst_event_s=0.000380976,
    ),
    Point(
        services=10000,
        endpoints=100000,
        resident_bytes=116445000.0,
        start_cpu_s=2.92,
        start_s=3.08622,
        map_bytes=15610000.0,
        change_s=0.00273099,
        change_cpu_s=0.0102429,
        burst_event_s=0.000748737,
    ),
)
CHECKED = (
    Point(
        services=5000,
        endpoints=50000,
        resident_bytes=90759200.0,
        start_cpu_s=1.63,
        start_s=1.70378,
        map_bytes=13330000.0,
        change_s=0.00316663,
        change_cpu_s=0.00824863,
        burst_event_s=0.000608505,
    ),
    Point(
        services=20000,
        endpoints=100000,
        resident_bytes=138867000.0,
        start_cpu_s=5.07,
        start_s=5.02475,
        map_bytes=20170000.0,
        change_s=0.00224612,
        change_cpu_s=0.0104691,
        burst_event_s=0.00055771,
    ),
)
