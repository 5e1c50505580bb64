%% GET /metrics: how many requests have been answered with which status, in Prometheus' text format.
-module(taskboard_metrics_handler).
-behaviour(cowboy_handler).

-export([init/2]).

init(Req, State) ->
    Lines = [io_lib:format("taskboard_requests_total{status=\"~p\"} ~b~n", Row) || Row <- taskboard_metrics:list()],
    {ok, cowboy_req:reply(200, #{<<"content-type">> => <<"text/plain; version=0.0.4">>}, Lines, Req), State}.
