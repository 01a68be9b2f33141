// Prints, as JSON, what OpenFeature's client for Go makes of the flags at the URL it is given.
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/open-feature/go-sdk-contrib/providers/ofrep"
	"github.com/open-feature/go-sdk/openfeature"
)

type details struct {
	Value     any    `json:"value"`
	Reason    string `json:"reason"`
	Variant   string `json:"variant"`
	ErrorCode string `json:"errorCode,omitempty"`
	Metadata  any    `json:"flagMetadata,omitempty"`
}

func of(value any, found openfeature.EvaluationDetails) details {
	return details{
		value, string(found.Reason), found.Variant, string(found.ErrorCode), found.FlagMetadata,
	}
}

func main() {
	if err := openfeature.SetProviderAndWait(ofrep.NewProvider(os.Args[1])); err != nil {
		panic(err)
	}
	client := openfeature.NewClient("test")
	ctx := context.Background()
	unit := openfeature.NewEvaluationContext(os.Args[2], map[string]any{"country": "DE"})
	anonymous := openfeature.NewEvaluationContext("", nil)
	found := map[string]details{}

	isNew, _ := client.BooleanValueDetails(ctx, "is-new", false, unit)
	found["is-new"] = of(isNew.Value, isNew.EvaluationDetails)
	slots, _ := client.IntValueDetails(ctx, "slots", 0, unit)
	found["slots"] = of(slots.Value, slots.EvaluationDetails)
	price, _ := client.FloatValueDetails(ctx, "price", 0, unit)
	found["price"] = of(price.Value, price.EvaluationDetails)
	layout, _ := client.ObjectValueDetails(ctx, "layout", nil, unit)
	found["layout"] = of(layout.Value, layout.EvaluationDetails)
	order, _ := client.ObjectValueDetails(ctx, "order", nil, unit)
	found["order"] = of(order.Value, order.EvaluationDetails)
	for _, key := range []string{"title", "closed", "draft", "by-impression", "missing"} {
		text, _ := client.StringValueDetails(ctx, key, "mine", unit)
		found[key] = of(text.Value, text.EvaluationDetails)
	}
	noUnit, _ := client.StringValueDetails(ctx, "title", "mine", anonymous)
	found["noUnit"] = of(noUnit.Value, noUnit.EvaluationDetails)
	otherType, _ := client.StringValueDetails(ctx, "slots", "mine", unit)
	found["otherType"] = of(otherType.Value, otherType.EvaluationDetails)

	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
