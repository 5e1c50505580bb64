%%% What outrider:metrics/1 tells, for Prometheus: an ordinary Cowboy handler, to be routed to in any listener.
%%%
%%%     {"/metrics", outrider_prometheus, #{}}
%%%
%%% Its option listeners is a list of names; without it, it tells of all that run. The answer is the text format 0.0.4, or OpenMetrics
%%% 1.0.0 where the client prefers that (accept). It says nothing of single clients; who may ask is for the router or a middleware
%%% to decide. Names, kinds and labels come from outrider_metrics_table; listener and sidecar are labels of all.
-module(outrider_prometheus).

-export([init/2, text/2]).

-type format() :: text | openmetrics.
-type options() :: #{listeners => [ranch:ref()]} | [].

%% So many messages, bytes and so on in one sample; seconds are written as such.
-type sample() :: {Suffix :: binary(), outrider_metrics_table:labels(), integer() | {seconds, integer()}}.

-spec init(cowboy_req:req(), options()) -> {ok, cowboy_req:req(), options()}.
init(Req = #{method := Method}, Options) when Method =:= <<"GET">>; Method =:= <<"HEAD">> ->
    Format = format(cowboy_req:parse_header(<<"accept">>, Req, [])),
    Text = text(Format, outrider_metrics:listeners(refs(Options))),
    {ok, cowboy_req:reply(200, #{<<"content-type">> => content_type(Format)}, Text, Req), Options};
init(Req, Options) ->
    {ok, cowboy_req:reply(405, #{<<"allow">> => <<"GET, HEAD">>}, Req), Options}.

refs(#{listeners := Refs}) -> Refs;
refs(_) -> outrider_registry:refs().

%% The type with the highest quality; of equal ones the plain text, which everybody reads.
format(Accept) ->
    Quality = fun(Type, SubType) -> lists:max([0 | [Q || {{T, S, _}, Q, _} <- Accept, T =:= Type, S =:= SubType]]) end,
    Wanted = Quality(<<"application">>, <<"openmetrics-text">>),
    case Wanted > 0 andalso Wanted > Quality(<<"text">>, <<"plain">>) of
        true -> openmetrics;
        false -> text
    end.

content_type(text) -> <<"text/plain; version=0.0.4; charset=utf-8">>;
content_type(openmetrics) -> <<"application/openmetrics-text; version=1.0.0; charset=utf-8">>.

-spec text(format(), [outrider_metrics:listener()]) -> iodata().
text(Format, Listeners) ->
    Sidecars = [
        {[{listener, outrider_text:name(Ref)}, {sidecar, integer_to_binary(Number)}], Metrics}
     || #{listener := Ref, sidecars := Sidecars} <- Listeners, #{number := Number, metrics := Metrics} <- Sidecars
    ],
    [[family(Format, Rows, Sidecars) || Rows <- families(outrider_metrics_table:rows())], ["# EOF\n" || Format =:= openmetrics]].

%% The rows of one name each; what it means is said by the first.
families([]) ->
    [];
families([#{name := Name} = Row | Rows0]) ->
    {Same, Rows} = lists:splitwith(fun(#{name := Other}) -> Other =:= Name end, Rows0),
    [[Row | Same] | families(Rows)].

family(Format, [#{name := Name0, type := Type, help := Help} | _] = Rows, Sidecars) ->
    Name = family_name(Format, Type, Name0),
    [
        ["# HELP ", Name, " ", escaped(help, Help), "\n"],
        ["# TYPE ", Name, " ", atom_to_binary(Type), "\n"],
        [
            [Name0, Suffix, labels(Common ++ Labels), " ", number(Number), "\n"]
         || Row = #{key := Key} <- Rows, {Common, #{Key := Value}} <- Sidecars, {Suffix, Labels, Number} <- samples(Row, Value)
        ]
    ].

%% OpenMetrics takes the suffix of a counter for that of its sample.
family_name(openmetrics, counter, Name) -> binary:part(Name, 0, byte_size(Name) - byte_size(<<"_total">>));
family_name(_, _, Name) -> Name.

-spec samples(outrider_metrics_table:row(), outrider_metrics_table:value()) -> [sample()].
samples(#{type := histogram}, {histogram, Sum, Buckets}) ->
    {Bounds, Count} = lists:mapfoldl(
        fun({Bound, Number}, Below) -> {{<<"_bucket">>, [{le, seconds(Bound)}], Below + Number}, Below + Number} end,
        0, lists:sort(maps:to_list(Buckets))
    ),
    Bounds ++ [{<<"_sum">>, [], {seconds, Sum}}, {<<"_count">>, [], Count}];
samples(#{by := By} = Row, Numbers) ->
    Fixed = maps:get(labels, Row, []),
    [{<<>>, Fixed ++ [{By, outrider_text:name(Label)}], Number} || {Label, Number} <- lists:sort(maps:to_list(Numbers))];
samples(#{unit := microseconds} = Row, Number) ->
    [{<<>>, maps:get(labels, Row, []), {seconds, Number}}];
samples(Row, Number) ->
    [{<<>>, maps:get(labels, Row, []), Number}].

labels(Labels) ->
    ["{", lists:join(",", [[atom_to_binary(Label), "=\"", escaped(label, Value), "\""] || {Label, Value} <- Labels]), "}"].

number({seconds, Us}) -> float_to_binary(Us / 1.0e6, [{decimals, 6}, compact]);
number(Number) -> integer_to_binary(Number).

%% The bound of a bucket, in the form that OpenMetrics calls canonical: 1e-05, 0.0001, 1.0.
seconds(infinity) ->
    <<"+Inf">>;
seconds(Us) when Us >= 100 ->
    float_to_binary(Us / 1.0e6, [{decimals, 6}, compact]);
seconds(Us) ->
    [Mantissa, Exponent] = string:split(float_to_binary(Us / 1.0e6, [{scientific, 4}]), "e-"),
    iolist_to_binary([string:trim(string:trim(Mantissa, trailing, "0"), trailing, "."), "e-", Exponent]).

escaped(Where, Text) ->
    << <<(escape(Where, C))/binary>> || <<C>> <= Text >>.

escape(_, $\\) -> <<"\\\\">>;
escape(_, $\n) -> <<"\\n">>;
escape(label, $") -> <<"\\\"">>;
escape(_, C) -> <<C>>.
