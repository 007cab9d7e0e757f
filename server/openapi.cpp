// SPDX-License-Identifier: Apache-2.0
// The texts of the tables hold nothing that JSON would have to escape; a test parses the whole.
#include "server/openapi.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "server/field_table.h"
#include "server/routes.h"

namespace ttt::server {
namespace {

using Kind = Field::Kind;
using Body = Route::Body;

constexpr std::string_view kIds = R"({"type":"array","items":{"type":"integer","minimum":0}})";

std::string with(std::string_view members, std::string_view more) {
  return fmt::format("{}{}{}", members, more.empty() ? "" : ",", more);
}

std::string prompts_schema(const Field& field) {
  constexpr std::string_view kSomeIds =
      R"({"type":"array","minItems":1,"items":{"type":"integer","minimum":0}})";
  const std::string text = fmt::format("{{{}}}", with(R"("type":"string")", field.limits));
  return fmt::format(R"("anyOf":[{0},{{"type":"array","minItems":1,"items":{0}}},)"
                     R"({1},{{"type":"array","minItems":1,"items":{1}}}])",
                     text, kSomeIds);
}

// The members of a schema, all but what it is about.
std::string schema_of(const Field& field) {
  switch (field.kind) {
    case Kind::kId:
      return R"("type":["string","integer","null"])";
    case Kind::kPrompt:
      return prompts_schema(field);
    case Kind::kMessages:
      return R"("type":"array","minItems":1,"items":{"$ref":"#/components/schemas/Message"})";
    case Kind::kInteger:
      return with(R"("type":["integer","null"])", field.limits);
    case Kind::kNumber:
      return with(R"("type":["number","null"])", field.limits);
    case Kind::kBool:
      return R"("type":["boolean","null"])";
    case Kind::kText:
      return R"("type":["string","null"])";
    case Kind::kIds:
      return R"("type":["array","null"],"items":{"type":"integer","minimum":0})";
    case Kind::kTexts:
      return R"("anyOf":[{"type":"string","minLength":1},)"
             R"({"type":"array","items":{"type":"string","minLength":1}},{"type":"null"}])";
    case Kind::kBiases:
      return R"("type":["object","null"],"propertyNames":{"pattern":"^(0|[1-9][0-9]*)$"},)"
             R"("additionalProperties":{"type":"number","minimum":-100,"maximum":100})";
    case Kind::kStreamOptions:
      return R"("type":["object","null"],"properties":{"include_usage":{"type":["boolean","null"]},)"
             R"("continuous_usage_stats":{"type":["boolean","null"]}})";
    case Kind::kAnything:
    case Kind::kOneWay:
      break;
  }
  return "";
}

std::string body_schema(FieldSet set, std::string_view required) {
  std::vector<std::string> properties;
  for (const Field& field : all_fields()) {
    if (!field.is_in(set)) continue;
    const std::string schema = schema_of(field);
    properties.push_back(fmt::format(R"("{}":{{{}{}"description":"{}"}})", field.name, schema,
                                     schema.empty() ? "" : ",", field.about));
  }
  return fmt::format(R"({{"type":"object","required":[{}],"properties":{{{}}}}})", required,
                     fmt::join(properties, ","));
}

std::string schema_of(Body body) {
  switch (body) {
    case Body::kNone:
      break;
    case Body::kCompletion:
      return body_schema(FieldSet::kCompletion, "");
    case Body::kChat:
      return body_schema(FieldSet::kChat, R"("messages")");
    case Body::kScore:
      return body_schema(FieldSet::kScore, R"("completions")");
    case Body::kTokenize:
      return R"({"type":"object","required":["prompt"],"properties":{"prompt":{"type":"string"},)"
             R"("add_special_tokens":{"type":["boolean","null"]},)"
             R"("return_token_strs":{"type":["boolean","null"]}}})";
    case Body::kDetokenize:
      return fmt::format(R"({{"type":"object","required":["tokens"],"properties":{{"tokens":{}}}}})", kIds);
  }
  return "";
}

std::string content(std::string_view type, std::string_view schema) {
  return fmt::format(R"("{}":{{"schema":{}}})", type, schema);
}

std::string content_of(Route::Answer answer) {
  constexpr std::string_view kObject = R"({"type":"object"})", kText = R"({"type":"string"})";
  switch (answer) {
    case Route::Answer::kJson:
      return content("application/json", kObject);
    case Route::Answer::kJsonOrStream:
      return content("application/json", kObject) + "," + content("text/event-stream", kText);
    case Route::Answer::kText:
      return content("text/plain", kText);
    case Route::Answer::kPage:
      return content("text/html", kText);
  }
  return "";
}

std::string operation_of(const Route& route) {
  std::string method = route.method;
  std::ranges::transform(method, method.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string operation = fmt::format(R"("{}":{{"summary":"{}",)", method, route.about);
  if (route.is_public) operation += R"("security":[],)";
  if (route.takes_name()) {
    operation +=
        R"("parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"string","minLength":1}}],)";
  }
  if (route.body != Body::kNone) {
    operation += fmt::format(R"("requestBody":{{"required":true,"content":{{{}}}}},)",
                             content("application/json", schema_of(route.body)));
  }
  return operation + fmt::format(R"("responses":{{"200":{{"description":"done","content":{{{}}}}},)"
                                 R"("default":{{"description":"refused, or failed","content":{{{}}}}}}}}})",
                                 content_of(route.answer),
                                 content("application/json", R"({"$ref":"#/components/schemas/Error"})"));
}

constexpr std::string_view kComponents =
    R"({"securitySchemes":{"key":{"type":"http","scheme":"bearer"}},"schemas":{)"
    R"("Error":{"type":"object","required":["error"],"properties":{"error":{"type":"object",)"
    R"("required":["message","type","param","code"],"properties":{"message":{"type":"string"},)"
    R"("type":{"type":"string"},"param":{"type":["string","null"]},"code":{"type":["string","null"]}}}}},)"
    R"("Message":{"type":"object","required":["role","content"],"properties":{)"
    R"("role":{"enum":["system","developer","user","assistant","tool"]},)"
    R"("content":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object",)"
    R"("required":["type","text"],"properties":{"type":{"const":"text"},"text":{"type":"string"}}}}]}}}}})";

}  // namespace

std::string openapi_json(std::string_view version) {
  std::vector<std::string> paths;
  for (const Route& route : all_routes()) {
    paths.push_back(fmt::format(R"("{}":{{{}}})", route.pattern(), operation_of(route)));
  }
  return fmt::format(
      R"({{"openapi":"3.1.0","info":{{"title":"ttt","version":"{}","license":{{"name":"Apache-2.0",)"
      R"("identifier":"Apache-2.0"}}}},"security":[{{}},{{"key":[]}}],"paths":{{{}}},"components":{}}})",
      version, fmt::join(paths, ","), kComponents);
}

}  // namespace ttt::server
