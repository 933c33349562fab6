//go:build tools

// Package tools names the programs that this module builds, so that go.sum pins them.
package tools

import (
	_ "github.com/ray-project/kuberay/ray-operator"
)
