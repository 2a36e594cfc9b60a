"""A real node below the control plane: kubelet, containerd, kube-proxy, DNS, registry. As root."""
