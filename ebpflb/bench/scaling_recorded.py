"""Points of the scaling model, as `--measure` found them where docs/scaling.md says.

    FITTED, CHECKED --scaling_model.py--> costs, errors

Decides nothing.
"""

from ebpflb.bench.scaling_model import Point

FITTED = (
    Point(
        services=500,
        endpoints=1000,
        resident_bytes=100372000.0,
        start_cpu_s=1.62,
        start_s=1.92045,
        map_bytes=11278000.0,
        change_s=0.00274464,
        change_cpu_s=0.00642793,
        burst_event_s=0.000413567,
    ),
    Point(
        services=2000,
        endpoints=20000,
        resident_bytes=119194000.0,
        start_cpu_s=1.99,
        start_s=2.41802,
        map_bytes=11962000.0,
        change_s=0.00346463,
        change_cpu_s=0.0075,
        burst_event_s=0.000896936,
    ),
    Point(
        services=5000,
        endpoints=10000,
        resident_bytes=120541000.0,
        start_cpu_s=2.5,
        start_s=2.75292,
        map_bytes=13330000.0,
        change_s=0.00416158,
        change_cpu_s=0.00683843,
        burst_event_s=0.000397224,
    ),
    Point(
        services=10000,
        endpoints=100000,
        resident_bytes=218468000.0,
        start_cpu_s=5.88,
        start_s=6.65337,
        map_bytes=15610000.0,
        change_s=0.00345393,
        change_cpu_s=0.0126565,
        burst_event_s=0.00177686,
    ),
)
CHECKED = (
    Point(
        services=5000,
        endpoints=50000,
        resident_bytes=154231000.0,
        start_cpu_s=3.28,
        start_s=3.61619,
        map_bytes=13330000.0,
        change_s=0.0036674,
        change_cpu_s=0.00791702,
        burst_event_s=0.0010209,
    ),
    Point(
        services=20000,
        endpoints=100000,
        resident_bytes=255246000.0,
        start_cpu_s=7.12,
        start_s=12.9015,
        map_bytes=20170000.0,
        change_s=0.00388878,
        change_cpu_s=0.0141361,
        burst_event_s=0.000633189,
    ),
)
