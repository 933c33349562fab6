"""A real Kubernetes for the tests, without docker, systemd, a hub or a registry.

A fake API server agrees with whoever wrote it; defaulting, validation, garbage collection and conflicts are only what
they are in the real one. This package builds the real programs from Go modules and runs them as plain child processes,
in two tiers: `control-plane` (etcd, kube-apiserver, kube-controller-manager, KubeRay: any user, seconds) and `node`
(containerd, kubelet, kube-proxy, CoreDNS as well: root, pods really run).

    python -m tests.cluster preflight                   say what keeps a node from starting on this machine
    python -m tests.cluster build                       build the programs into the cache
    python -m tests.cluster up --tier control-plane     leave a control plane up
    python -m tests.cluster up --tier node              leave a cluster up, images loaded, chart installed
    python -m tests.cluster status
    python -m tests.cluster down                        remove everything that `up` made

The cache is `$FINETUNE_CACHE`, else `~/.cache/finetune-operator`.
"""
