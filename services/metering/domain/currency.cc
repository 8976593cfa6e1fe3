#include "metering/domain/currency.h"

#include <string_view>

namespace trunkline::metering {
namespace {

constexpr std::string_view kNoDigits =
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
constexpr std::string_view kThreeDigits = "BHD IQD JOD KWD LYD OMR TND";
constexpr std::string_view kFourDigits = "CLF UYW";
constexpr std::string_view kTwoDigits =
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ "
    "GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
    "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
    "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
    "TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";

bool lists(std::string_view codes, std::string_view code) {
  const size_t at = codes.find(code);
  return at != std::string_view::npos && at % 4 == 0;
}

}  // namespace

std::optional<uint32_t> minor_digits_of(std::string_view currency) {
  if (currency.size() != 3) return std::nullopt;
  if (lists(kTwoDigits, currency)) return 2;
  if (lists(kNoDigits, currency)) return 0;
  if (lists(kThreeDigits, currency)) return 3;
  if (lists(kFourDigits, currency)) return 4;
  return std::nullopt;
}

}  // namespace trunkline::metering
