// Answers to how instances and hosts fare. Who may ask is settled before. One thread at a time;
// throws as ReadModel does.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lookup/domain/troubled_webhook.h"
#include "lookup/io/fleet_stats.h"
#include "lookup/io/read_model.h"
#include "trunkline/v1/query.pb.h"

namespace trunkline::lookup {

class MetricQueries {
 public:
  MetricQueries(ReadModel& model, const FleetStats& fleet) : model_(model), fleet_(fleet) {}

  struct Answer {
    std::string json;  // empty: not there
    std::string bad_field;
  };
  Answer metrics(const Document& instance, const v1::GetMetrics& wish) const;
  Answer report(const Document& instance, const v1::GetDatabaseReport& wish) const;
  std::string prometheus(const Document& instance) const;
  // `shown`: a host's document with what is reported of it.
  std::string fleet(const std::function<std::string(const Document&)>& shown,
                    std::vector<TroubledWebhook> webhooks) const;

 private:
  ReadModel& model_;
  const FleetStats& fleet_;
};

// The times that a question means: the last hour and about 120 points unless it says otherwise.
// "" or what is wrong with them.
std::string settle_span(int64_t now_ms, TimeSpan* span);

}  // namespace trunkline::lookup
