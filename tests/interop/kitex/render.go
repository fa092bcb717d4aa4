package main

import (
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"
)

// render turns a value of a generated type into what encoding/json prints without loss: doubles are "d:" and
// the hex of their bits, binary is "b:" and hex, strings are "s:" and the text (one that is not UTF-8: "x:" and
// hex), maps are lists of pairs, structs are objects by the IDL's names with the fields that are set.
func render(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return nil
		}
		return render(value.Elem())
	case reflect.Bool:
		return value.Bool()
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return value.Int()
	case reflect.Float64:
		return fmt.Sprintf("d:%016x", math.Float64bits(value.Float()))
	case reflect.String:
		if text := value.String(); utf8.ValidString(text) {
			return "s:" + text
		}
		return "x:" + hex.EncodeToString([]byte(value.String()))
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return "b:" + hex.EncodeToString(value.Bytes())
		}
		rendered := make([]any, value.Len())
		for i := range rendered {
			rendered[i] = render(value.Index(i))
		}
		return rendered
	case reflect.Map:
		pairs := make([][2]any, 0, value.Len())
		for entries := value.MapRange(); entries.Next(); {
			pairs = append(pairs, [2]any{render(entries.Key()), render(entries.Value())})
		}
		return pairs
	case reflect.Struct:
		fields := map[string]any{}
		for i := 0; i < value.NumField(); i++ {
			field := value.Field(i)
			if kind := field.Kind(); (kind == reflect.Pointer || kind == reflect.Slice || kind == reflect.Map) && field.IsNil() {
				continue
			}
			name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("thrift"), ",")
			fields[name] = render(field)
		}
		return fields
	default:
		panic(fmt.Sprintf("%s is of no Thrift type", value.Type()))
	}
}
