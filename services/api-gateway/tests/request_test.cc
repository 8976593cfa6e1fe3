// Paths, queries, JSON, references, routes and the HTTP grammar.
#include <gtest/gtest.h>

#include "api-gateway/domain/caller.h"
#include "api-gateway/domain/list_query.h"
#include "api-gateway/domain/reference.h"
#include "api-gateway/domain/request_parser.h"
#include "api-gateway/domain/routes.h"
#include "api-gateway/domain/strict_json.h"
#include "api-gateway/domain/target.h"

namespace trunkline::gateway {
namespace {

constexpr char kId[] = "33333333-3333-4333-8333-333333333333";

std::string json_verdict(std::string_view text) {
  const auto outcome = parse_json_object(text);
  return outcome ? "" : outcome.problem().type;
}

TEST(StrictJson, TruthTable) {
  const std::pair<std::string, const char*> rows[] = {
      {"{}", ""},
      {R"({"a":{"b":[1,2,{"c":null}]}})", ""},
      {"", "bad_json"},
      {"[]", "bad_json"},
      {"1", "bad_json"},
      {"null", "bad_json"},
      {"{", "bad_json"},
      {"{}x", "bad_json"},
      {"{} {}", "bad_json"},
      {R"({"a":1,})", "bad_json"},
      {R"({'a':1})", "bad_json"},
      {R"({"a":NaN})", "bad_json"},
      {R"({"a":1e999})", "bad_json"},
      {R"({"a":01})", "bad_json"},
      {R"({"a":1,"a":2})", "duplicate_key"},
      {R"({"b":{"a":1,"a":2}})", "duplicate_key"},
      {R"({"a":1,"\u0061":2})", "duplicate_key"},
      {R"({"a":"\u0000"})", "bad_value"},
      {R"({"\u0000":1})", "bad_value"},
      {R"({"a":"\ud800"})", "bad_json"},
      {R"({"a":"\udc00\ud800"})", "bad_json"},
      {R"({"a":"\ud83d\ude00"})", ""},
      {"{\"a\":\"\xff\"}", "bad_json"},
      {"{\"a\":\"\xed\xa0\x80\"}", "bad_json"},
      {"{\"a\":\"\n\"}", "bad_json"},
      {"\xef\xbb\xbf{}", "bad_json"},
      {std::string("{}\0", 3), "bad_json"},
      {"{\"a\":" + std::string(15, '[') + std::string(15, ']') + "}", ""},
      {"{\"a\":" + std::string(16, '[') + std::string(16, ']') + "}", "bad_json"},
      {"{\"a\":" + std::string(60000, '['), "bad_json"},
  };
  for (const auto& [text, verdict] : rows) {
    EXPECT_EQ(json_verdict(text), verdict) << text.substr(0, 60);
  }
  std::string many = "{\"a\":[0";
  for (int i = 0; i < 3000; ++i) many += ",0";
  EXPECT_EQ(json_verdict(many + "]}"), "bad_json");
}

TEST(Target, PercentDecoding) {
  EXPECT_EQ(*percent_decode("a%20b+c", true, "x"), "a b c");
  EXPECT_EQ(*percent_decode("a+b", false, "x"), "a+b");
  EXPECT_EQ(*percent_decode("%C3%a9", false, "x"), "\xc3\xa9");
  for (const char* bad : {"%", "%2", "%zz", "%00", "%0a", "%7f", "%ff", "%c3%28", "%ed%a0%80"}) {
    EXPECT_FALSE(percent_decode(bad, true, "x")) << bad;
  }
}

TEST(Target, QueryKeepsOrderAndRepeats) {
  const auto query = query_parameters("a=1&b&a=2&&c=%3D");
  ASSERT_TRUE(query);
  const QueryParameters expected = {{"a", "1"}, {"b", ""}, {"a", "2"}, {"c", "="}};
  EXPECT_EQ(*query, expected);
  std::string many;
  for (int i = 0; i < 300; ++i) many += "a=1&";
  EXPECT_FALSE(query_parameters(many));
}

TEST(Reference, TruthTable) {
  const std::string id = kId;
  const std::pair<std::string, bool> rows[] = {
      {"/v1/types/postgres/versions/" + id, true},
      {"/v1/postgres/versions/" + id, true},
      {"/v1/postgres/versions/" + id + "/", true},
      {"/v1/postgres/versions/ABCDEF00-3333-4333-8333-333333333333", true},
      {id, false},
      {"http://h/v1/postgres/versions/" + id, false},
      {"v1/postgres/versions/" + id, false},
      {"/v1/postgres/versions/" + id + "/x", false},
      {"/v1/postgres/versions/" + id + "?x", false},
      {"/v1/postgres/instances/" + id, false},
      {"/v1/postgres/versions/", false},
      {"", false}};
  for (const auto& [uri, good] : rows) {
    EXPECT_EQ(parse_reference(Resource::version, uri).has_value(), good) << uri;
  }
  const auto user =
      parse_reference(Resource::user, "/v1/postgres/instances/" + id + "/users/" + id);
  ASSERT_TRUE(user);
  EXPECT_EQ(user->instance_id, id);
  EXPECT_FALSE(parse_reference(Resource::user, "/v1/postgres/users/" + id));
  EXPECT_EQ(canonical_reference(Resource::version, "/v1/postgres/versions/" + id),
            "/v1/types/postgres/versions/" + id);
}

TEST(Routes, NoTwoPatternsTakeTheSameRequest) {
  for (const Route& a : all_routes()) {
    int same = 0;
    for (const Route& b : all_routes()) {
      if (a.method == b.method && a.pattern == b.pattern) ++same;
    }
    EXPECT_EQ(same, 1) << a.method << " " << a.pattern;
  }
}

TEST(Routes, EveryPatternMatchesItself) {
  for (const Route& route : all_routes()) {
    std::string path(route.pattern);
    for (const char* hole : {"{uuid}", "{instance}", "{project}"}) {
      const size_t at = path.find(hole);
      if (at != std::string::npos) path.replace(at, std::string(hole).size(), kId);
    }
    for (const char* prefix : {"/v1/postgres", "/v1/types/postgres"}) {
      std::string asked = path;
      if (asked.starts_with("/v1/postgres")) asked.replace(0, 12, prefix);
      const auto segments = path_segments(asked + "/");
      const auto match = match_route(route.method, *segments);
      ASSERT_TRUE(std::holds_alternative<RouteMatch>(match)) << route.method << " " << asked;
      EXPECT_EQ(std::get<RouteMatch>(match).route, &route);
      EXPECT_EQ(std::get<RouteMatch>(match).path, path);
      EXPECT_EQ(std::get<RouteMatch>(match).asked_path, asked);
    }
  }
}

TEST(ListQuery, TruthTable) {
  const std::pair<const char*, const char*> rows[] = {
      {"", ""},
      {"name=a&name=b", ""},
      {"cpu=2", ""},
      {"cpu=x", "bad_filter"},
      {"cpu=-1", "bad_filter"},
      {"status=ACTIVE&status=ERROR", ""},
      {"status=BAD", "bad_filter"},
      {"status=", "bad_filter"},
      {"status=active", "bad_filter"},
      {"uuid=x", "bad_filter"},
      {"created_at=2026-01-01T00:00:00Z", ""},
      {"created_at=now", "bad_filter"},
      {"password=x", "unknown_parameter"},
      {"nodes=x", "bad_filter"},
      {"ipsv4=127.0.0.1", ""},
      {"ipv4=127.0.0.1", "unknown_parameter"},
      {"colour=red", "unknown_parameter"},
      {"fields=uuid,name", ""},
      {"fields=uuid,", "unknown_field"},
      {"fields=colour", "unknown_field"},
      {"sort_key=cpu&sort_dir=desc", ""},
      {"sort_key=nodes", "bad_sort_key"},
      {"sort_key=ipsv4", "bad_sort_key"},
      {"sort_key=", "bad_sort_key"},
      {"sort_dir=up", "bad_sort_dir"},
      {"page_limit=1", ""},
      {"page_limit=1000", ""},
      {"page_limit=0", "bad_page_limit"},
      {"page_limit=1001", "bad_page_limit"},
      {"page_limit=1.0", "bad_page_limit"},
      {"page_limit=99999999999999999999", "bad_page_limit"},
      {"page_marker=33333333-3333-4333-8333-333333333333", ""},
      {"page_marker=x", "bad_page_marker"},
  };
  for (const auto& [text, verdict] : rows) {
    const auto outcome = parse_list_query(Resource::instance, *query_parameters(text));
    EXPECT_EQ(outcome ? "" : outcome.problem().type, verdict) << text;
  }
  EXPECT_FALSE(parse_list_query(Resource::user, *query_parameters("password=12345678")));
  EXPECT_FALSE(parse_list_query(Resource::user, *query_parameters("status=IN_PROGRESS")));
  EXPECT_FALSE(parse_list_query(Resource::host, *query_parameters("state=GONE")));
  EXPECT_TRUE(parse_list_query(Resource::host, *query_parameters("state=LOST")));
  EXPECT_FALSE(parse_list_query(Resource::token, *query_parameters("role=root")));
}

TEST(ListQuery, FiltersBecomeTheTextThatDocumentsHave) {
  const std::string id = kId;
  const auto wish = parse_list_query(
      Resource::instance, *query_parameters("version=/v1/postgres/versions/" + id +
                                            "&cpu=02&created_at=2026-01-15T12:30:00%2B02:00"));
  ASSERT_TRUE(wish);
  EXPECT_EQ(wish->query.filters(0).any_of(0), "/v1/types/postgres/versions/" + id);
  EXPECT_EQ(wish->query.filters(1).any_of(0), "2");
  EXPECT_EQ(wish->query.filters(2).any_of(0), "2026-01-15T10:30:00.000000Z");
}

TEST(Caller, FromTokenDocuments) {
  EXPECT_TRUE(caller_from(R"({"uuid":"a","role":"admin"})"));
  EXPECT_TRUE(caller_from(R"({"uuid":"a","role":"member","project_id":"p"})"));
  for (const char* bad : {"", "[]", "{}", R"({"uuid":"a","role":"root"})",
                          R"({"uuid":"a","role":"member"})", R"({"role":"admin"})",
                          R"({"uuid":"a","role":"admin","expires_at":"soon"})"}) {
    EXPECT_FALSE(caller_from(bad)) << bad;
  }
}

// ---- HTTP ----------------------------------------------------------------------------------

// Every split of the bytes must give the same requests.
std::vector<std::string> parse_all(const std::string& bytes, size_t step) {
  RequestParser parser;
  std::vector<std::string> out;
  for (size_t at = 0; at < bytes.size(); at += step) {
    parser.append(std::string_view(bytes).substr(at, step));
    while (true) {
      auto next = parser.next();
      if (auto* request = std::get_if<HttpRequest>(&next)) {
        out.push_back(request->method + " " + request->path + "?" + request->query + " " +
                      request->body + (request->keep_alive ? "" : " close"));
        continue;
      }
      if (auto* problem = std::get_if<Problem>(&next)) {
        out.push_back(std::to_string(problem->code));
        return out;
      }
      break;
    }
  }
  return out;
}

TEST(RequestParser, TheSameWhateverTheSplit) {
  const std::string bytes =
      "\r\nGET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"
      "POST http://h:1/p?q HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
      "PUT /c HTTP/1.1\r\nhOsT:x\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n"
      "A;e=1\r\n0123456789"
      "\r\n0\r\n\r\n"
      "GET /z HTTP/1.0\r\n\r\n"
      "BAD\r\n\r\n";
  const std::vector<std::string> expected = {"GET /a?b=c ", "POST /p?q hello",
                                             "PUT /c? abc0123456789", "GET /z?  close", "400"};
  for (size_t step = 1; step <= bytes.size(); ++step) {
    EXPECT_EQ(parse_all(bytes, step), expected) << step;
  }
}

TEST(RequestParser, HeadersOfOneNameAreNotGuessedFrom) {
  RequestParser parser;
  parser.append("GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\na: 2\r\nB:  3 \r\n\r\n");
  const auto request = std::get<HttpRequest>(parser.next());
  EXPECT_FALSE(request.header("a"));
  EXPECT_EQ(request.header_count("a"), 2u);
  EXPECT_EQ(request.header("b"), "3");
  EXPECT_EQ(parser.buffered(), 0u);
}

TEST(RequestParser, LimitsAreExact) {
  const RequestLimits limits;
  const auto verdict = [](const std::string& bytes) {
    const auto all = parse_all(bytes, bytes.size());
    return all.empty() ? std::string("waits") : all.front().substr(0, 4);
  };
  const std::string fixed = "GET / HTTP/1.1";
  const std::string line(limits.request_line_bytes - fixed.size(), 'a');
  EXPECT_EQ(verdict("GET /" + line + " HTTP/1.1\r\nHost: x\r\n\r\n"), "GET ");
  EXPECT_EQ(verdict("GET /a" + line + " HTTP/1.1\r\nHost: x\r\n\r\n"), "414");
  std::string headers = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (size_t i = 1; i < limits.header_count; ++i) headers += "A: b\r\n";
  EXPECT_EQ(verdict(headers + "\r\n"), "GET ");
  EXPECT_EQ(verdict(headers + "A: b\r\n\r\n"), "431");
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ";
  EXPECT_EQ(verdict(post + "65536\r\n\r\n" + std::string(65536, 'b')), "POST");
  EXPECT_EQ(verdict(post + "65537\r\n\r\n"), "413");
  EXPECT_EQ(verdict(std::string(limits.request_line_bytes + 1, 'a')), "414") << "without an end";
}

TEST(HttpMessage, AHeaderCannotBreakOut) {
  HttpResponse response;
  response.headers = {{"Location", "a\r\nSet-Cookie: b"}};
  const std::string bytes = render(response, "now", true, false);
  EXPECT_EQ(bytes.find("\r\nSet-Cookie"), std::string::npos);
}

}  // namespace
}  // namespace trunkline::gateway
