// Says what the oldest supported API server would refuse of definitions and admission policies: structural schemas, CEL rules and
// their estimated cost. It is that server's own code, at the version in go.mod. Reads YAML documents; prints a line per objection.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	celgo "github.com/google/cel-go/cel"
	"k8s.io/api/admissionregistration/v1beta1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	strict "sigs.k8s.io/yaml"
)

type expression struct {
	name, text string
	result     *celgo.Type
}

func (e expression) GetName() string            { return e.name }
func (e expression) GetExpression() string      { return e.text }
func (e expression) ReturnTypes() []*celgo.Type { return []*celgo.Type{e.result} }

func main() {
	objections, err := check(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for _, each := range objections {
		fmt.Println(each)
	}
}

func check(input io.Reader) ([]string, error) {
	var found []string
	for reader := yaml.NewYAMLReader(bufio.NewReader(input)); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		var meta struct{ Kind string }
		if err := strict.Unmarshal(document, &meta); err != nil {
			return nil, err
		}
		switch meta.Kind {
		case "CustomResourceDefinition":
			found = append(found, ofDefinition(document)...)
		case "ValidatingAdmissionPolicy":
			found = append(found, ofPolicy(document)...)
		default:
			return nil, fmt.Errorf("%q is neither a definition nor a policy", meta.Kind)
		}
	}
}

func ofDefinition(document []byte) []string {
	var given v1.CustomResourceDefinition
	if err := strict.UnmarshalStrict(document, &given); err != nil {
		return []string{err.Error()}
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	scheme.Default(&given)
	var internal apiextensions.CustomResourceDefinition
	if err := scheme.Convert(&given, &internal, nil); err != nil {
		return []string{err.Error()}
	}
	var found []string
	for _, each := range validation.ValidateCustomResourceDefinition(context.Background(), &internal) {
		found = append(found, each.Error())
	}
	return found
}

// The policies of this version are v1beta1; v1 has the same fields.
func ofPolicy(document []byte) []string {
	var given v1beta1.ValidatingAdmissionPolicy
	if err := strict.UnmarshalStrict(document, &given); err != nil {
		return []string{err.Error()}
	}
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	note := func(where string, result cel.CompilationResult) {
		if result.Error != nil {
			found = append(found, where+": "+result.Error.Error())
		}
	}
	options := cel.OptionalVariableDeclarations{HasParams: given.Spec.ParamKind != nil, HasAuthorizer: true}
	for _, each := range given.Spec.Variables {
		accessor := expression{each.Name, each.Expression, celgo.AnyType}
		note("variables."+each.Name, compiler.CompileAndStoreVariable(accessor, options, environment.NewExpressions))
	}
	for _, each := range given.Spec.MatchConditions {
		accessor := expression{each.Name, each.Expression, celgo.BoolType}
		note("matchConditions."+each.Name, compiler.CompileCELExpression(accessor, options, environment.NewExpressions))
	}
	for index, each := range given.Spec.Validations {
		accessor := expression{"", each.Expression, celgo.BoolType}
		note(fmt.Sprintf("validations[%d]", index), compiler.CompileCELExpression(accessor, options, environment.NewExpressions))
	}
	return found
}
