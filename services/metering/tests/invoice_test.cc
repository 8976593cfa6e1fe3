// Invoices and price lists as they are shown.
#include "metering/domain/invoice.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "metering/domain/billing_json.h"

namespace trunkline::metering {
namespace {

using nlohmann::json;

constexpr int64_t kNovember = 1'793'491'200'000;
const std::string kOne = "11111111-1111-4111-8111-111111111111";

TEST(InvoiceMonth, IsOfUtc) {
  const auto november = parse_month("2026-11");
  ASSERT_TRUE(november);
  EXPECT_EQ(november->from_ms, kNovember);
  EXPECT_EQ(november->to_ms - november->from_ms, int64_t{30} * 86'400'000);
  EXPECT_EQ(parse_month("2028-02")->to_ms - parse_month("2028-02")->from_ms,
            int64_t{29} * 86'400'000);
  EXPECT_EQ(parse_month("2026-12")->to_ms, parse_month("2027-01")->from_ms);
  for (const char* bad : {"2026-13", "2026-00", "2026-1", "26-11", "2026/11", "1969-01", ""}) {
    EXPECT_FALSE(parse_month(bad)) << bad;
  }
}

Invoice sample() {
  Invoice invoice;
  invoice.project_id = kOne;
  invoice.month = "2026-11";
  invoice.time = *parse_month("2026-11");
  invoice.position = 42;
  invoice.list = PriceListState(kOne);
  invoice.list.currency = "EUR";
  invoice.list.minor_digits = 2;
  invoice.list.versions = {{1, "standard", 0, {{"vcpu_seconds", "", "", "0.05", "3600"}}, {}}};
  const auto segments = segments_of({&invoice.list}, invoice.time.from_ms, invoice.time.to_ms);
  const std::vector<UsedQuantity> used = {{0, kOne, Meter::vcpu_seconds, 7'200'500},
                                          {0, kOne, Meter::wal_bytes, 5}};
  invoice.rating = rate(invoice.list, segments, used);
  invoice.compared_list = invoice.list;
  invoice.compared_list->versions[0].prices[0].amount = "0.10";
  invoice.compared = rate(*invoice.compared_list, segments, used);
  invoice.names[kOne] = "shop";
  return invoice;
}

TEST(InvoiceText, SaysHowItCameAbout) {
  const Invoice invoice = sample();
  const json head = json::parse(invoice_head_json(invoice));
  EXPECT_EQ(head["total"], "0.10");
  EXPECT_EQ(head["position"], 42);
  EXPECT_EQ(head["price_list"]["versions"], json::array({1}));
  EXPECT_EQ(head["compared"]["total"], "0.20");
  EXPECT_EQ(head["compared"]["difference"], "0.10");
  const auto items = invoice_items(invoice, 0, 10);
  ASSERT_EQ(items.size(), 3u);
  ASSERT_EQ(invoice.items(), 3u);
  const json line = json::parse(items[0].substr(1));
  EXPECT_EQ(items[0].front(), 'L');
  EXPECT_EQ(line["name"], "shop");
  EXPECT_EQ(line["quantity"], "7200.5");
  EXPECT_EQ(line["amount"], "0.10");
  EXPECT_EQ(line["price"], "0.05");
  EXPECT_EQ(items[1].front(), 'U');
  EXPECT_EQ(json::parse(items[1].substr(1))["meter"], "wal_bytes");
  EXPECT_EQ(items[2].front(), 'D');
  EXPECT_EQ(json::parse(items[2].substr(1))["difference"], "0.10");
  EXPECT_EQ(invoice_items(invoice, 1, 1), std::vector{items[1]});
  EXPECT_TRUE(invoice_items(invoice, 3, 5).empty());
}

TEST(PriceListText, ShowsTheVersionThatHolds) {
  PriceListState list(kOne);
  list.currency = "EUR";
  list.versions = {{1, "a", 3'600'000, {{"wal_bytes", "", "", "1", "1"}}, {}},
                   {2, "b", 7'200'000, {{"wal_bytes", "", "", "2", "1"}}, {}}};
  EXPECT_EQ(json::parse(price_list_json(list, 0))["number"], 2);
  EXPECT_EQ(json::parse(price_list_json(list, 3'600'000))["prices"][0]["amount"], "1");
  EXPECT_EQ(price_list_json(list, 1), "");
  EXPECT_EQ(json::parse(price_list_json(list, 0))["versions"].size(), 2u);
}

}  // namespace
}  // namespace trunkline::metering
