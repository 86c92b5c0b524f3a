"""How long it takes from a breach to the write that takes the traffic away: Serin, Argo Rollouts and Flagger, side by side.

All three controllers are the real programs, on one real control plane; each canary has a namespace of its own. Pods are
played (they are ready, or not), and so is Prometheus, which tells all of them the same values at the same moments.

    stand.py     the control plane, the scripted Prometheus, the folders of the peers' programs
    systems.py   what a system under test is
    serin.py, argo.py, flagger.py
                 how each is started, given a canary, and read
    trials.py    one canary from its start to weight 0; many at the same time
    table.py     the figures of all trials: medians, ratios, the printed table
"""
