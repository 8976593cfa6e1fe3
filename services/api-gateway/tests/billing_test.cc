// Usage, price lists, invoices and webhooks through the gateway: who may ask what, what is asked of
// metering, and how it is shown.
#include <gmock/gmock.h>

#include <algorithm>

#include "api-gateway/tests/gateway_fixture.h"
#include "base/webhook_key.h"

namespace trunkline::gateway::testing {
namespace {

constexpr char kList[] = "88888888-8888-4888-8888-888888888888";
constexpr char kWebhook[] = "99999999-9999-4999-8999-999999999999";
const std::string kListPath = std::string("/v1/price-lists/") + kList;
const std::string kWebhookPath = std::string("/v1/webhooks/") + kWebhook;
const std::string kInvoice =
    std::string("/v1/invoices/") + kProject + "/2026-11?price_list=" + kList;

json price_list() {
  return {{"name", "standard"},
          {"currency", "EUR"},
          {"valid_from", "2026-11-01T00:00:00Z"},
          {"prices", {{{"meter", "vcpu_seconds"}, {"amount", "0.05"}, {"per", "3600"}}}}};
}

json without(json body, const char* field) {
  body.erase(field);
  return body;
}
json with(json body, const char* field, const json& value) {
  body[field] = value;
  return body;
}

class BillingTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    peer_->put(v1::KIND_PRICE_LIST, kList, json{{"uuid", kList}}.dump());
    peer_->put(v1::KIND_WEBHOOK, kWebhook, json{{"uuid", kWebhook}, {"key_number", 3}}.dump(),
               "administrators");
    accept_commands();
  }
};

TEST_F(BillingTest, WhoMayAskWhatWithWhichBody) {
  const json webhook = {{"url", "https://example.com/usage"}};
  const json resend = {{"from", "2026-11-01T00:00:00Z"}};
  const json bad_price = {{"meter", "vcpu_seconds"}, {"amount", 0.05}, {"per", "3600"}};
  struct Row {
    const char* method;
    std::string path;
    const char* token;
    json body;
    int status;
    const char* type;
  };
  const Row rows[] = {
      {"POST", "/v1/price-lists", "admin", price_list(), 202, ""},
      {"POST", "/v1/price-lists", "member", price_list(), 403, "forbidden"},
      {"POST", "/v1/price-lists", "admin", without(price_list(), "currency"), 400,
       "currency_missing"},
      {"POST", "/v1/price-lists", "admin", with(price_list(), "x", 1), 400, "unknown_field"},
      {"POST", "/v1/price-lists", "admin", with(price_list(), "prices", {bad_price}), 400,
       "bad_type"},
      {"POST", "/v1/price-lists", "admin", with(price_list(), "valid_from", "soon"), 400,
       "bad_value"},
      {"PUT", kListPath, "admin", with(price_list(), "number", 7), 200, ""},
      {"PUT", kListPath, "reader", price_list(), 403, "forbidden"},
      {"PUT", std::string("/v1/price-lists/") + kWebhook, "admin", price_list(), 404, "not_found"},
      {"GET", kListPath, "reader", nullptr, 200, ""},
      {"GET", kListPath, "stranger", nullptr, 200, ""},
      {"GET", kListPath + "?at=2026-11-01T00:00:00Z", "reader", nullptr, 200, ""},
      {"GET", kListPath + "?at=now", "reader", nullptr, 400, "bad_value"},
      {"GET", "/v1/price-lists", "nobody", nullptr, 401, "unauthorized"},
      {"DELETE", kListPath, "admin", nullptr, 204, ""},
      {"DELETE", kListPath, "member", nullptr, 403, "forbidden"},
      {"POST", "/v1/webhooks", "member", webhook, 403, "forbidden"},
      {"POST", "/v1/webhooks", "admin", json::object(), 400, "url_missing"},
      {"POST", "/v1/webhooks", "admin", with(webhook, "project_id", "p"), 400, "bad_uuid"},
      {"GET", "/v1/webhooks", "member", nullptr, 403, "forbidden"},
      {"GET", kWebhookPath, "reader", nullptr, 403, "forbidden"},
      {"GET", kWebhookPath, "admin", nullptr, 200, ""},
      {"PUT", kWebhookPath, "admin", {{"enabled", "yes"}}, 400, "bad_type"},
      {"PUT", kWebhookPath, "admin", {{"enabled", false}, {"key_number", 3}}, 200, ""},
      {"POST", kWebhookPath + "/resend", "admin", resend, 200, ""},
      {"POST", kWebhookPath + "/resend", "member", resend, 403, "forbidden"},
      {"POST", kWebhookPath + "/resend", "admin", json::object(), 400, "from_missing"},
      {"GET", kWebhookPath + "/deliveries", "member", nullptr, 403, "forbidden"},
      {"DELETE", kWebhookPath + "/dead-letters", "admin", nullptr, 204, ""},
      {"DELETE", kWebhookPath + "/dead-letters", "member", nullptr, 403, "forbidden"},
      {"DELETE", kWebhookPath, "admin", nullptr, 204, ""},
      {"GET", "/v1/usage", "reader", nullptr, 200, ""},
      {"GET", "/v1/usage?window=2h", "reader", nullptr, 400, "bad_value"},
      {"GET", "/v1/usage?group_by=instance,day", "reader", nullptr, 400, "bad_value"},
      {"GET", "/v1/usage?instance=x", "reader", nullptr, 400, "bad_uuid"},
      {"GET", "/v1/usage?from=a", "reader", nullptr, 400, "bad_value"},
      {"GET", "/v1/usage?page_limit=0", "reader", nullptr, 400, "bad_page_limit"},
      {"GET", "/v1/usage?colour=red", "reader", nullptr, 400, "unknown_parameter"},
      {"GET", "/v1/usage?window=1h&window=1d", "reader", nullptr, 400, "repeated_parameter"},
      {"GET", "/v1/usage/abc/events", "reader", nullptr, 200, ""},
      {"GET", "/v1/usage/abc/events?page_marker=x", "reader", nullptr, 400, "bad_page_marker"},
      {"GET", kInvoice, "reader", nullptr, 200, ""},
      {"GET", std::string("/v1/invoices/") + kProject + "/2026-11", "reader", nullptr, 400,
       "price_list_missing"},
      {"GET", std::string("/v1/invoices/") + kProject + "/2026-13?price_list=" + kList, "reader",
       nullptr, 400, "bad_month"},
      {"GET", "/v1/invoices/x/2026-11", "reader", nullptr, 400, "bad_uuid"},
      {"GET", "/v1/schemas/usage.json", "", nullptr, 200, ""},
  };
  for (const Row& row : rows) {
    const auto answer = ask(row.method, row.path, row.token, row.body);
    EXPECT_EQ(answer.status, row.status) << row.method << " " << row.path << " " << answer.body;
    // The usage schema is an object with a "type", too.
    const std::string type = answer.status < 400 ? "" : type_of(answer);
    EXPECT_EQ(type, row.type) << row.method << " " << row.path << " " << answer.body;
  }
}

// A project's token asks for its own project, whatever it writes into the question.
TEST_F(BillingTest, TheScopeIsTheTokens) {
  peer_->on_query([](const v1::Query& query) {
    v1::QueryAnswer answer;
    if (query.scope().all_projects()) answer.add_json(R"({"who":"all"})");
    else answer.add_json(json{{"who", query.scope().project_id()}}.dump());
    return answer;
  });
  const std::string usage = std::string("/v1/usage?project=") + kProject;
  EXPECT_THAT(ask("GET", usage, "stranger").body, ::testing::HasSubstr(kOther));
  EXPECT_THAT(ask("GET", usage, "member").body, ::testing::HasSubstr(kProject));
  EXPECT_THAT(ask("GET", usage, "admin").body, ::testing::HasSubstr("all"));
  EXPECT_THAT(ask("GET", kInvoice, "stranger").body, ::testing::HasSubstr(kOther));
  EXPECT_THAT(ask("GET", "/v1/usage/abc/events", "stranger").body, ::testing::HasSubstr(kOther));
  peer_->on_query([](const v1::Query&) {
    v1::QueryAnswer answer;
    answer.set_status(v1::QUERY_STATUS_NOT_FOUND);
    return answer;
  });
  EXPECT_EQ(ask("GET", usage, "stranger").status, 404);
  EXPECT_EQ(ask("GET", kInvoice, "stranger").status, 404);
}

TEST_F(BillingTest, WhatAPriceListBecomes) {
  peer_->on_query([](const v1::Query&) {
    v1::QueryAnswer answer;
    answer.add_json(R"({"name":"standard"})");
    return answer;
  });
  const auto answer = ask("POST", "/v1/price-lists", "admin", price_list());
  EXPECT_EQ(answer.status, 201) << answer.body;
  ASSERT_EQ(peer_->commands().size(), 1u);
  const v1::Command command = peer_->commands().front();
  EXPECT_EQ(peer_->takers().front(), "metering");
  EXPECT_EQ(answer.headers.at("location"), "/v1/price-lists/" + command.aggregate_id());
  const auto& published = command.price_list().publish_price_list();
  EXPECT_EQ(published.valid_from_unix_ms(), 1'793'491'200'000);
  EXPECT_EQ(published.prices(0).amount(), "0.05");
}

TEST_F(BillingTest, AKeyIsShownOnceWhenItIsMade) {
  peer_->on_query([](const v1::Query& query) {
    v1::QueryAnswer answer;
    const bool is_new = query.get_resource().uuid() != kWebhook;
    answer.add_json(json{{"key_number", is_new ? 1 : 4}}.dump());
    return answer;
  });
  const auto secret = [](const TestResponse& answer) {
    return json::parse(answer.body).value("secret", std::string());
  };
  const auto made = ask("POST", "/v1/webhooks", "admin", {{"url", "https://example.com/"}});
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string id = peer_->commands().front().aggregate_id();
  EXPECT_EQ(secret(made), webhook_key_text(webhook_key("master", id, 1)));
  EXPECT_EQ(peer_->commands().front().SerializeAsString().find("whsec"), std::string::npos);
  EXPECT_EQ(secret(ask("PUT", kWebhookPath, "admin", {{"rotate_key", true}})),
            webhook_key_text(webhook_key("master", kWebhook, 4)));
  EXPECT_EQ(secret(ask("PUT", kWebhookPath, "admin", {{"enabled", true}})), "");
  EXPECT_EQ(secret(ask("GET", kWebhookPath, "admin")), "");
}

TEST_F(BillingTest, UsageAsCsv) {
  peer_->on_query([](const v1::Query&) {
    v1::QueryAnswer answer;
    answer.add_json(R"({"window_start":"a","instance":"i","meter":"x, \"y\"","quantity":"-1.5"})");
    answer.add_json(R"({"window_start":"b","instance":"=1+1","unit":"s"})");
    answer.set_next_marker("here");
    return answer;
  });
  const std::string expected =
      "window_start,window_end,project_id,instance,node,meter,state,quantity,unit,record\r\n"
      "a,,,i,,\"x, \"\"y\"\"\",,-1.5,,\r\n"
      "b,,,'=1+1,,,,,s,\r\n";
  const auto by_format = ask("GET", "/v1/usage?format=csv", "reader");
  EXPECT_EQ(by_format.body, expected);
  EXPECT_EQ(by_format.headers.at("content-type"), "text/csv; charset=utf-8; header=present");
  EXPECT_EQ(by_format.headers.at("x-pagination-marker"), "here");
  EXPECT_EQ(ask("GET", "/v1/usage", "reader", nullptr, {{"Accept", "text/csv"}}).body, expected);
  EXPECT_EQ(ask("GET", "/v1/usage?format=json", "reader", nullptr, {{"Accept", "text/csv"}})
                .body.front(), '[');
}

TEST_F(BillingTest, AnInvoiceIsOneObject) {
  peer_->on_query([](const v1::Query& query) {
    v1::QueryAnswer answer;
    answer.add_json(R"({"total":"3.00","month":")" + query.get_invoice().month() + "\"}");
    answer.add_json(R"(L{"instance":"i","amount":"1.00"})");
    answer.add_json(R"(L{"instance":"j","amount":"2.00"})");
    answer.add_json(R"(D{"difference":"0.50"})");
    return answer;
  });
  const auto invoice = json::parse(ask("GET", kInvoice + "&at=17", "member").body);
  EXPECT_EQ(invoice["month"], "2026-11");
  EXPECT_EQ(invoice["lines"].size(), 2u);
  EXPECT_EQ(invoice["lines"][1]["amount"], "2.00");
  EXPECT_EQ(invoice["unpriced"].size(), 0u);
  EXPECT_EQ(invoice["differences"][0]["difference"], "0.50");
  EXPECT_EQ(peer_->queries().back().get_invoice().at_position(), 17);
  const auto csv = ask("GET", kInvoice + "&format=csv", "member").body;
  EXPECT_THAT(csv, ::testing::HasSubstr(",i,"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
}

}  // namespace
}  // namespace trunkline::gateway::testing
