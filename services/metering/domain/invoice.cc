#include "metering/domain/invoice.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace trunkline::metering {
namespace {

using Json = nlohmann::ordered_json;

std::string time_text(int64_t ms) { return format_rfc3339(from_unix_us(ms * 1000)); }

int64_t month_begin_ms(int year, unsigned month) {
  const std::chrono::sys_days day{std::chrono::year{year} / std::chrono::month{month} /
                                  std::chrono::day{1}};
  return std::chrono::duration_cast<milliseconds>(day.time_since_epoch()).count();
}

Json list_json(const PriceListState& list, const Rating& rating) {
  Json numbers = Json::array();
  for (const auto& version : list.versions) {
    const bool used = std::ranges::any_of(rating.lines, [&](const InvoiceLine& line) {
      return line.price_list_version == version.number;
    });
    if (used) numbers.push_back(version.number);
  }
  return {{"uuid", list.id},
          {"name", list.versions.empty() ? std::string() : list.versions.back().name},
          {"versions", std::move(numbers)}};
}

class Items {
 public:
  explicit Items(const Invoice& invoice) : invoice_(invoice) {}

  std::string line(const InvoiceLine& line) const {
    Json out = begin(line.instance_id, line.meter);
    out["state"] = line.state;
    put_use(line.meter, line.quantity, line.from_ms, line.to_ms, &out);
    out["price"] = line.price.amount;
    out["per"] = line.price.per;
    out["price_list_version"] = line.price_list_version;
    out["amount"] = fixed_text(line.amount, invoice_.list.minor_digits);
    out["currency"] = invoice_.list.currency;
    return "L" + out.dump();
  }
  std::string unpriced(const UnpricedLine& line) const {
    Json out = begin(line.instance_id, line.meter);
    out["state"] = std::string(info(line.meter).state);
    put_use(line.meter, line.quantity, line.from_ms, line.to_ms, &out);
    return "U" + out.dump();
  }
  std::string difference(const RatingDifference& difference) const {
    const uint32_t digits = invoice_.list.minor_digits;
    const uint32_t other = invoice_.compared_list->minor_digits;
    Json out = begin(difference.instance_id, difference.meter);
    out["amount"] = fixed_text(difference.amount, digits);
    out["compared_amount"] = fixed_text(difference.compared_amount, other);
    if (invoice_.list.currency == invoice_.compared_list->currency) {
      out["difference"] = fixed_text(difference.compared_amount - difference.amount, digits);
    }
    return "D" + out.dump();
  }

 private:
  Json begin(const std::string& instance_id, Meter meter) const {
    const auto name = invoice_.names.find(instance_id);
    return {{"project_id", invoice_.project_id},
            {"instance", instance_id},
            {"name", name == invoice_.names.end() ? std::string() : name->second},
            {"meter", std::string(info(meter).name)}};
  }
  static void put_use(Meter meter, Int128 quantity, int64_t from_ms, int64_t to_ms, Json* out) {
    (*out)["quantity"] = unit_text(meter, quantity);
    (*out)["unit"] = std::string(info(meter).unit);
    (*out)["from"] = time_text(from_ms);
    (*out)["to"] = time_text(to_ms);
  }

  const Invoice& invoice_;
};

}  // namespace

std::optional<Month> parse_month(std::string_view text) {
  if (text.size() != 7 || text[4] != '-') return std::nullopt;
  int numbers[2] = {0, 0};
  for (size_t i = 0; i < text.size(); ++i) {
    if (i == 4) continue;
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
    int& number = numbers[i < 4 ? 0 : 1];
    number = number * 10 + (text[i] - '0');
  }
  const auto [year, month] = std::pair(numbers[0], numbers[1]);
  if (year < 1970 || month < 1 || month > 12) return std::nullopt;
  const int next_year = month == 12 ? year + 1 : year;
  const unsigned next_month = month == 12 ? 1 : static_cast<unsigned>(month) + 1;
  return Month{month_begin_ms(year, static_cast<unsigned>(month)),
               month_begin_ms(next_year, next_month)};
}

size_t Invoice::items() const {
  return rating.lines.size() + rating.unpriced.size() +
         (compared ? compare(rating, *compared).size() : 0);
}

std::string invoice_head_json(const Invoice& invoice) {
  Json out = {{"project_id", invoice.project_id},
              {"month", invoice.month},
              {"from", time_text(invoice.time.from_ms)},
              {"to", time_text(invoice.time.to_ms)},
              {"position", invoice.position},
              {"complete", invoice.complete},
              {"price_list", list_json(invoice.list, invoice.rating)},
              {"currency", invoice.list.currency},
              {"total", fixed_text(invoice.rating.total, invoice.list.minor_digits)}};
  if (invoice.compared) {
    const PriceListState& other = *invoice.compared_list;
    Json compared = {{"price_list", list_json(other, *invoice.compared)},
                     {"currency", other.currency},
                     {"total", fixed_text(invoice.compared->total, other.minor_digits)}};
    if (other.currency == invoice.list.currency) {
      compared["difference"] =
          fixed_text(invoice.compared->total - invoice.rating.total, other.minor_digits);
    }
    out["compared"] = std::move(compared);
  }
  return out.dump();
}

std::vector<std::string> invoice_items(const Invoice& invoice, size_t first, size_t count) {
  const Items items(invoice);
  std::vector<std::string> out;
  size_t index = 0;
  const auto wanted = [&] {
    const size_t at = index++;
    return at >= first && at - first < count;
  };
  for (const auto& line : invoice.rating.lines) {
    if (wanted()) out.push_back(items.line(line));
  }
  for (const auto& line : invoice.rating.unpriced) {
    if (wanted()) out.push_back(items.unpriced(line));
  }
  if (!invoice.compared) return out;
  for (const auto& difference : compare(invoice.rating, *invoice.compared)) {
    if (wanted()) out.push_back(items.difference(difference));
  }
  return out;
}

}  // namespace trunkline::metering
