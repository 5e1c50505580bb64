%% Counts the requests by the status of their answer, from what cowboy_metrics_h reports.
-module(taskboard_metrics).

-export([new/0, record/1, list/0]).

%% The caller owns the table.
-spec new() -> ok.
new() ->
    ?MODULE = ets:new(?MODULE, [ordered_set, public, named_table, {write_concurrency, true}]),
    ok.

%% The metrics_callback.
-spec record(cowboy_metrics_h:metrics()) -> ok.
record(Metrics) ->
    %% A request whose client has gone may have no answer.
    Status = maps:get(resp_status, Metrics, undefined),
    _ = ets:update_counter(?MODULE, Status, 1, {Status, 0}),
    ok.

%% Each status with its number.
-spec list() -> [[cowboy:http_status() | undefined | pos_integer()]].
list() ->
    [tuple_to_list(Row) || Row <- ets:tab2list(?MODULE)].
