// Command dockerfile reads a Dockerfile with Docker's own parser and rules.
//
//	dockerfile FILE CONTEXT
//
// It prints one line of JSON: the stages with their instructions, what the rules complain about, and the files of the
// folder CONTEXT that FILE.dockerignore lets through.
package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type step struct {
	Name string `json:"name"`
	// Words are the arguments; of a shell form: one, the line.
	Words []string `json:"words"`
	Shell bool     `json:"shell,omitempty"`
	From  string   `json:"from,omitempty"`
}

type stage struct {
	Name  string `json:"name"`
	Base  string `json:"base"`
	Steps []step `json:"steps"`
}

type description struct {
	Stages   []stage  `json:"stages"`
	Warnings []string `json:"warnings"`
	Context  []string `json:"context"`
}

func main() {
	described, err := describe(os.Args[1], os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(described)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dockerfile:", err)
		os.Exit(1)
	}
}

func describe(path, context string) (*description, error) {
	found := &description{Warnings: []string{}}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		return nil, err
	}
	rules := linter.New(&linter.Config{
		Warn: func(rule, _, _, message string, _ []parser.Range) {
			found.Warnings = append(found.Warnings, rule+": "+message)
		},
	})
	stages, _, err := instructions.Parse(parsed.AST, rules)
	if err != nil {
		return nil, err
	}
	for _, each := range stages {
		made := stage{Name: each.Name, Base: each.BaseName}
		for _, command := range each.Commands {
			made.Steps = append(made.Steps, stepOf(command))
		}
		found.Stages = append(found.Stages, made)
	}
	found.Context, err = sent(context, path+".dockerignore")
	return found, err
}

func stepOf(command instructions.Command) step {
	made := step{Name: command.Name()}
	switch typed := command.(type) {
	case *instructions.RunCommand:
		made.Words, made.Shell = typed.CmdLine, typed.PrependShell
	case *instructions.EntrypointCommand:
		made.Words, made.Shell = typed.CmdLine, typed.PrependShell
	case *instructions.CmdCommand:
		made.Words, made.Shell = typed.CmdLine, typed.PrependShell
	case *instructions.CopyCommand:
		made.Words, made.From = append(typed.SourcePaths, typed.DestPath), typed.From
	case *instructions.EnvCommand:
		for _, pair := range typed.Env {
			made.Words = append(made.Words, pair.Key+"="+pair.Value)
		}
	case *instructions.WorkdirCommand:
		made.Words = []string{typed.Path}
	case *instructions.UserCommand:
		made.Words = []string{typed.User}
	}
	return made
}

// sent lists the files that a build would be given.
func sent(context, ignore string) ([]string, error) {
	file, err := os.Open(ignore)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, err
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	var names []string
	err = filepath.WalkDir(context, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(context, path)
		if err != nil {
			return err
		}
		ignored, err := matcher.MatchesOrParentMatches(name)
		if err == nil && !ignored {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
