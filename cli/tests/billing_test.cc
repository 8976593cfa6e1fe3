// Usage, invoices, price lists and webhooks on the command line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "cli/tests/command_harness.h"
#include "cli/tests/fake_api.h"
#include "testing/temp_servers.h"

namespace trunkline::cli {
namespace {

using ::testing::HasSubstr;

const std::string kId = "0b9f6b3e-1111-4000-8000-000000000001";

class BillingCommandTest : public ::testing::Test {
 protected:
  BillingCommandTest() {
    std::ofstream(directory_.path() + "/token") << "tl_secret-token\n";
    api_.lay_down("GET /v1/price-lists",
                  {{200, R"([{"uuid":")" + kId + R"(","name":"standard"}])", {}}});
  }
  Ran command(const std::vector<std::string>& arguments) {
    return run_command(arguments,
                       {{"TRUNKLINE_API", api_.url()},
                        {"TRUNKLINE_TOKEN_FILE", directory_.path() + "/token"}},
                       "");
  }
  std::string last_target() { return api_.requests().back().target; }

  trunkline::testing::TempDirectory directory_;
  FakeApi api_;
};

TEST_F(BillingCommandTest, UsageInPages) {
  api_.lay_down("GET /v1/usage",
                {{200, R"([{"meter":"vcpu_seconds","quantity":"12.5","unit":"vCPU s"}])", {}}});
  const Ran ran = command({"usage", "--instance", kId, "--window", "1d", "--group-by", "node"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("12.5"));
  EXPECT_THAT(last_target(), HasSubstr("window=1d"));
  EXPECT_THAT(last_target(), HasSubstr("group_by=node"));
}

TEST_F(BillingCommandTest, AnInvoiceByThePriceListsName) {
  api_.lay_down("GET /v1/invoices/" + kId + "/2026-11",
                {{200,
                  R"({"total":"12.34","currency":"EUR",)"
                  R"("lines":[{"meter":"wal_bytes","amount":"12.34"}]})",
                  {}}});
  const Ran ran = command({"invoices", "get", kId, "2026-11", "--price-list", "standard"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("12.34"));
  EXPECT_THAT(ran.out, HasSubstr("wal_bytes"));
  EXPECT_THAT(last_target(), HasSubstr("price_list=" + kId));
}

TEST_F(BillingCommandTest, AllPagesOfAnInvoice) {
  api_.lay_down(
      "GET /v1/invoices/" + kId + "/2026-11",
      {{200, R"({"total":"3","lines":[{"meter":"a"}]})", {"X-Pagination-Marker: 7.1"}},
       {200, R"({"total":"3","lines":[{"meter":"b"}],"unpriced":[{"meter":"c"}]})", {}}});
  const Ran ran = command({"invoices", "get", kId, "2026-11", "--price-list", kId,
                           "-o", "json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const Json invoice = Json::parse(ran.out, nullptr, false);
  ASSERT_TRUE(invoice.is_object()) << ran.out;
  EXPECT_EQ(invoice["lines"].size(), 2u);
  EXPECT_EQ(invoice["unpriced"].size(), 1u);
  EXPECT_THAT(last_target(), HasSubstr("page_marker=7.1"));
}

TEST_F(BillingCommandTest, PublishingFromAFile) {
  const std::string file = directory_.path() + "/prices.json";
  std::ofstream(file) << R"({"name":"standard","prices":[]})";
  api_.lay_down("POST /v1/price-lists", {{201, R"({"uuid":")" + kId + "\"}", {}}});
  api_.lay_down("PUT /v1/price-lists/" + kId, {{200, R"({"number":2})", {}}});
  EXPECT_EQ(command({"price-lists", "publish", file}).code, 0);
  EXPECT_EQ(api_.requests().back().method, "POST");
  EXPECT_EQ(command({"price-lists", "publish", file, "--as-version-of", "standard"}).code, 0);
  EXPECT_EQ(api_.requests().back().method, "PUT");
  EXPECT_EQ(command({"price-lists", "publish", file + ".not"}).code, 1);
}

TEST_F(BillingCommandTest, AWebhooksKeyIsShownOnce) {
  const std::string path = "/v1/webhooks/" + kId;
  api_.lay_down("POST /v1/webhooks",
                {{201, R"({"uuid":")" + kId + R"(","secret":"whsec_x"})", {}}});
  api_.lay_down("POST " + path + "/resend", {{200, "{}", {}}});
  api_.lay_down("GET " + path + "/deliveries",
                {{200,
                  R"({"tries":3,"attempts":[],"dead_letters":[{"record":"r1","status":400}]})",
                  {}}});
  EXPECT_THAT(command({"webhooks", "create", "--url", "https://example.com/"}).out,
              HasSubstr("whsec_x"));
  EXPECT_EQ(command({"webhooks", "resend", kId, "--from", "2026-11-01T00:00:00Z"}).code, 0);
  EXPECT_THAT(api_.requests().back().body, HasSubstr("2026-11-01"));
  EXPECT_THAT(command({"webhooks", "deliveries", kId}).out, HasSubstr("r1"));
  EXPECT_EQ(command({"webhooks", "get", "x"}).code, 1);
}

}  // namespace
}  // namespace trunkline::cli
