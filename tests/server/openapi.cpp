// SPDX-License-Identifier: Apache-2.0
// GET /openapi.json: nothing that is served is missing in it.
#include "server/openapi.h"

#include <catch2/catch.hpp>
#include <set>

#include "served.h"
#include "server/field_table.h"
#include "server/routes.h"

namespace ttt::server {
namespace {

// Every object and array below, with the references in it looked up.
void check_references(const Json& document, const Json& node) {
  if (node.is_object() && node.contains("$ref")) {
    const std::string reference = node["$ref"];
    REQUIRE(reference.starts_with("#/"));
    CHECK(document.contains(Json::json_pointer(reference.substr(1))));
  }
  if (!node.is_structured()) return;
  for (const Json& child : node) check_references(document, child);
}

const Json& schema_of(const Json& document, const char* path) {
  return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
}

}  // namespace

TEST_CASE("the description of the interface has every route and every field") {
  const Served served;
  const Answer answer = served.answer(get("/openapi.json"));
  CHECK(answer.headers.at("content-type") == "application/json");
  const Json document = Json::parse(answer.body);
  CHECK(document["openapi"] == "3.1.0");
  CHECK(document["info"]["version"] == "test");
  check_references(document, document);
  CHECK(document["paths"].size() == all_routes().size());
  for (const Route& route : all_routes()) {
    INFO(route.path);
    REQUIRE(document["paths"].contains(route.pattern()));
    const Json& path = document["paths"][route.pattern()];
    REQUIRE(path.size() == 1);
    const Json& operation = path.front();
    CHECK(operation["responses"].contains("200"));
    CHECK(operation["responses"].contains("default"));
    CHECK(operation.contains("requestBody") == (std::string(route.method) == "POST"));
    CHECK(operation.contains("parameters") == route.takes_name());
  }
  const std::pair<const char*, FieldSet> bodies[] = {{"/v1/completions", FieldSet::kCompletion},
                                                     {"/v1/chat/completions", FieldSet::kChat},
                                                     {"/v1/score", FieldSet::kScore}};
  for (const auto& [path, set] : bodies) {
    INFO(path);
    const Json& properties = schema_of(document, path)["properties"];
    std::set<std::string> described, known;
    for (const auto& [name, schema] : properties.items()) {
      described.insert(name);
      CHECK(!schema["description"].get<std::string>().empty());
    }
    for (const std::string& name : completion_field_names(set)) known.insert(name);
    CHECK(described == known);
    for (const Json& name : schema_of(document, path)["required"]) CHECK(known.contains(name));
  }
}

TEST_CASE("the limits that are described are those that hold") {
  const Served served({.chat_template = tokenizer::ChatTemplate::kPlain});
  const Json document = Json::parse(openapi_json("test"));
  const std::pair<const char*, Json> bodies[] = {
      {"/v1/completions", {{"prompt", "a"}, {"max_tokens", 1}}},
      {"/v1/chat/completions",
       {{"messages", {{{"role", "user"}, {"content", "a"}}}}, {"max_tokens", 1}, {"logprobs", true}}}};
  std::size_t num_limits = 0;
  for (const auto& [path, body] : bodies) {
    for (const auto& [name, schema] : schema_of(document, path)["properties"].items()) {
      const auto answer = [&, name = name, path = path, body = body](const Json& value) {
        Json changed = body;
        changed[name] = value;
        return served.answer(post(path, changed.dump()));
      };
      for (const char* limit : {"minimum", "maximum", "exclusiveMinimum"}) {
        if (!schema.contains(limit)) continue;
        INFO(path << " " << name << " " << limit);
        ++num_limits;
        const int value = schema[limit];
        const std::string kind = limit;
        const int outside = kind == "maximum" ? value + 1 : kind == "minimum" ? value - 1 : value;
        const Answer refused = answer(outside);
        CHECK(refused.status == 400);
        CHECK(error_of(refused)["param"] == name);
        if (kind == "minimum" && name != "max_tokens") CHECK(answer(value).status == 200);
      }
    }
  }
  CHECK(num_limits > 30);
}

TEST_CASE("every route that is described answers, and none is missing") {
  const Served served({.chat_template = tokenizer::ChatTemplate::kPlain});
  for (const Route& route : all_routes()) {
    INFO(route.path);
    const std::string path = route.takes_name() ? std::string(route.path) + "nobody" : route.path;
    const bool is_post = std::string(route.method) == "POST";
    const Answer answer = served.answer(is_post ? post(path, "{}")
                                                : std::string(route.method) + " " + path +
                                                      " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    CHECK(answer.status < 500);
    CHECK(answer.status != 405);
    if (!route.takes_name()) CHECK(answer.status != 404);
  }
}

}  // namespace ttt::server
