#include "apps/replicate/study.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "apps/common/config/fields.h"
#include "apps/replicate/results.h"
#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

std::vector<Field> list_of(ClaimedComparison& c) {
  FieldList fields;
  fields("head", c.head);
  fields("than", c.than);
  fields("metric", c.metric_key);
  fields("than_metric", c.than_metric_key);
  fields("expect", c.expect);
  fields("worth", c.worth);
  fields("settings", c.settings);
  fields("beyond", c.beyond);
  return fields.take();
}

/// Without the values: there are no fields of such lists.
std::vector<Field> list_of(Sweep& s) {
  FieldList fields;
  fields("heads", s.heads);
  fields("label", s.label);
  return fields.take();
}

/// Without the lists of objects; figures as texts.
std::vector<Field> list_of(Claim& c, std::vector<std::string>& figures) {
  FieldList fields;
  fields("claim", c.claim);
  fields("title", c.title);
  fields("question", c.question);
  fields("expectation", c.expectation);
  fields("settings", c.settings);
  fields("figures", figures);
  return fields.take();
}

template <class... Parts>
void expect(bool ok, const std::string& place, const Parts&... parts) {
  require_usage(ok, "plan", place, ": expected ", parts...);
}

void expect_keys(const Json& object, const std::vector<std::string>& keys, const std::string& place) {
  expect(object.is_object(), place, "an object, got ", excerpt(object.dump()));
  for (const std::string& key : keys) expect(object.contains(key), place, "the key `", key, "`");
}

void expect_known(const std::string& name, const std::vector<std::string>& known, const std::string& place) {
  expect(std::ranges::find(known, name) != known.end(), place, "one of ", join(known), ", got \"", excerpt(name), '"',
         did_you_mean(name, known));
}

/// Of a list of names: there is one, all are known, none twice.
void expect_names(const std::vector<std::string>& names, const std::vector<std::string>& known,
                  const std::string& place) {
  expect(!names.empty(), place, "names, got none");
  std::set<std::string> seen;
  for (const std::string& name : names) {
    expect_known(name, known, place);
    expect(seen.insert(name).second, place, "different names, got \"", excerpt(name), "\" twice");
  }
}

class StudyReader {
 public:
  explicit StudyReader(const Plan& plan) {
    for (const Variation& setting : plan.settings) settings_.push_back(setting.name);
    for (const Variation& head : plan.heads) heads_.push_back(head.name);
    for (const Metric& metric : metrics()) metrics_.push_back(metric.key);
  }

  Claim claim(Json json, const std::string& place) const {
    expect_keys(json, {"claim", "title", "question", "expectation", "comparisons"}, place);
    const Json list = json.at("comparisons"), sweep = json.contains("sweep") ? json.at("sweep") : Json();
    json.erase("comparisons");
    json.erase("sweep");
    Claim claim;
    claim.settings = settings_;
    std::vector<std::string> figures{name_of(Figure::forest)};
    read_fields(json, list_of(claim, figures), place);
    for (const auto& [key, text] : {std::pair("claim", &claim.claim),
                                    {"title", &claim.title},
                                    {"question", &claim.question},
                                    {"expectation", &claim.expectation}})
      expect(!trimmed(*text).empty(), place + "." + key, "words, got \"", excerpt(*text), '"');
    expect_names(claim.settings, settings_, place + ".settings");
    if (!sweep.is_null()) claim.sweep = read_sweep(sweep, place + ".sweep");
    const auto all = names_of(Figure{});
    const std::vector<std::string> known(all.begin(), all.end());
    for (const std::string& figure : figures) {
      expect_known(figure, known, place + ".figures");
      claim.figures.push_back(*value_named<Figure>(figure));
    }
    expect(list.is_array() && !list.empty(), place + ".comparisons", "a list of objects, got ", excerpt(list.dump()));
    for (size_t i = 0; i < list.size(); ++i)
      claim.comparisons.push_back(
          comparison(list.elements()[i], claim, place + ".comparisons[" + std::to_string(i) + "]"));
    return claim;
  }

 private:
  Sweep read_sweep(Json json, const std::string& place) const {
    expect_keys(json, {"heads", "values", "label"}, place);
    const Json values = json.at("values");
    json.erase("values");
    Sweep sweep;
    read_fields(json, list_of(sweep), place);
    expect_names(sweep.heads, heads_, place + ".heads");
    const auto number = [](const Json& value) { return value.is_number() && std::isfinite(value.number()); };
    expect(values.is_array() && values.size() == sweep.heads.size() && std::ranges::all_of(values.elements(), number),
           place + ".values", "a number for each of ", sweep.heads.size(), " heads, got ", excerpt(values.dump()));
    for (const Json& value : values.elements()) sweep.values.push_back(value.number());
    return sweep;
  }

  ClaimedComparison comparison(const Json& json, const Claim& claim, const std::string& place) const {
    expect_keys(json, {"head", "than", "metric", "expect", "worth"}, place);
    ClaimedComparison c;
    c.settings = claim.settings;
    read_fields(json, list_of(c), place);
    expect_known(c.head, heads_, place + ".head");
    if (c.than != kSweep || claim.sweep.heads.empty()) expect_known(c.than, heads_, place + ".than");
    if (c.than_metric_key.empty()) c.than_metric_key = c.metric_key;
    expect(c.head != c.than || c.than_metric_key != c.metric_key, place + ".than", "another head than \"",
           excerpt(c.head), "\", or another than_metric");
    c.metric = metric(c.metric_key, place + ".metric");
    c.than_metric = metric(c.than_metric_key, place + ".than_metric");
    expect_names(c.settings, settings_, place + ".settings");
    if (json.contains("beyond")) {
      expect_known(c.beyond, settings_, place + ".beyond");
      std::erase(c.settings, c.beyond);
      expect(!c.settings.empty(), place + ".settings", "others beside \"", excerpt(c.beyond), '"');
    }
    const bool positive = c.expect == Expectation::no_worse;
    expect(std::isfinite(c.worth) && (positive ? c.worth > 0 : c.worth >= 0), place + ".worth",
           positive ? "a number above 0" : "a number of at least 0", ", got ", c.worth);
    return c;
  }

  const Metric* metric(const std::string& key, const std::string& place) const {
    expect_known(key, metrics_, place);
    return &*std::ranges::find(metrics(), key, &Metric::key);
  }

  std::vector<std::string> settings_, heads_, metrics_;
};

}  // namespace

std::vector<Claim> claims_of(const Plan& plan) {
  if (plan.study.empty()) return {};
  const Json study = parse_json(plan.study, plan.path);
  const std::string place = plan.path + ": study";
  expect_keys(study, {"claims"}, place);
  for (const auto& [key, value] : study.members())
    expect(key == "claims", place, "claims alone, got the key ", excerpt(key), did_you_mean(key, {"claims"}));
  const Json& list = study.at("claims");
  expect(list.is_array() && !list.empty(), place + ".claims", "a list of objects, got ", excerpt(list.dump()));
  const StudyReader reader(plan);
  std::vector<Claim> claims;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string here = place + ".claims[" + std::to_string(i) + "]";
    claims.push_back(reader.claim(list.elements()[i], here));
    const auto same = [&](const Claim& c) { return c.claim == claims.back().claim; };
    expect(std::ranges::count_if(claims, same) == 1, here + ".claim", "another than of those before, got \"",
           excerpt(claims.back().claim), '"');
  }
  return claims;
}

}  // namespace sked
