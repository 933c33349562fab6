//go:build tools

// Package tools names the programs that this module builds, so that go.sum pins them.
package tools

import (
	_ "sigs.k8s.io/kueue/cmd/kueue"
)
