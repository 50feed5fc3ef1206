(** Safe is: no deadlock is reachable, and every request alone fits into the pools. *)
From Coq Require Import Arith Lia Bool.
From mmmodel Require Import System Sums StuckState.

Section Stack.
Variable st : stack.

(** Who is in a deadlock stays where it is, whatever the others do. *)
Lemma deadlocked_for_ever s t D :
  runs st s t -> deadlocked st D s -> forall r, there st r -> D r = true -> t r = s r.
Proof.
  intros R [_ H]. induction R as [t E|t u R IH M]; [intros; apply E|].
  intros r Hr Dr. destruct M as [q W F E A|q Hq W E A]; destruct (same_request r q) as [->|N]; try (rewrite A; auto; fail).
  - exfalso. destruct (H q Hr Dr) as [_ [_ NF]]. apply NF. intros p Hp. specialize (F p Hp).
    assert (held st (only D s) p <= held st t p) as L.
    { apply held_le. intros x Hx. unfold only. destruct (D x) eqn:Dx; [rewrite IH; auto|lia]. }
    unfold only at 2. rewrite Dr, <- (IH q Hr Dr). lia.
  - exfalso. destruct (H q Hr Dr) as [[_ L] _]. rewrite <- (IH q Hr Dr) in L. lia.
Qed.

Lemma fits_dec s r : {fits st s r} + {~ fits st s r}.
Proof.
  destruct (search (fun p => capacity st p < held st s p + take st (class r) (s r) p) (pools st)) as [H|H].
  - intros p. apply lt_dec.
  - right. intros F. destruct H as [p [Hp B]]. specialize (F p Hp). lia.
  - left. intros p Hp. specialize (H p Hp). lia.
Qed.

Lemma holds_something_dec k j : {holds_something st k j} + {~ holds_something st k j}.
Proof.
  destruct (search (fun p => 0 < holds st k j p) (pools st)) as [H|H].
  - intros p. apply lt_dec.
  - left. exact H.
  - right. intros [p [Hp P]]. apply (H p Hp P).
Qed.

Lemma runs_trans s t u : runs st s t -> runs st t u -> runs st s u.
Proof.
  intros A B. induction B as [u E|u v B IH M].
  - destruct A as [t E'|t' t A M]; [apply stays; intros; rewrite E; apply E'|].
    apply goes with t'; [assumption|].
    destruct M as [r W F Er Ar|r Hr W Er Ar].
    + apply (takes st t' u r); auto; intros; rewrite E; auto.
    + apply (is_done st t' u r); auto; intros; rewrite E; auto.
  - apply goes with u; assumption.
Qed.

Definition put (s : state) (r : request) (x : nat) : state := fun q => if same_request q r then x else s q.
Lemma put_here s r x : put s r x r = x.
Proof. unfold put. destruct (same_request r r); congruence. Qed.
Lemma put_elsewhere s r x q : q <> r -> put s r x q = s q.
Proof. unfold put. destruct (same_request q r); congruence. Qed.

(** What is still to be done by those who hold something. *)
Definition left_over (s : state) (r : request) : nat :=
  if holds_something_dec (class r) (s r) then 1 + steps st (class r) - s r else 0.

Lemma all_can_finish s r :
  ~ deadlock_reachable st ->
  (forall k p, k < classes st -> 0 < depth st k -> p < pools st -> holds st k (steps st k) p <= capacity st p) ->
  reachable st s -> there st r -> exists t, runs st s t /\ t r = steps st (class r).
Proof.
  intros ND Fit. remember (total st (left_over s)) as x eqn:E. revert s E.
  induction x as [x IH] using lt_wf_ind. intros s E R Hr.
  destruct (reachable_fits st s R) as [Hc Hs].
  destruct (search_requests st (fun q => holds_something st (class q) (s q) /\ (s q = steps st (class q) \/ fits st s q))) as [[q [Hq [HS G]]]|H].
  { intros q. destruct (holds_something_dec (class q) (s q)); [|right; tauto].
    destruct (Nat.eq_dec (s q) (steps st (class q))); [left; tauto|]. destruct (fits_dec s q); [left; tauto|right; tauto]. }
  - (* somebody goes on, or is done *)
    assert (left_over s q = 1 + steps st (class q) - s q) as Lq by (unfold left_over; destruct (holds_something_dec _ _); tauto).
    pose proof (Hs q Hq) as Sq.
    destruct (Nat.eq_dec (s q) (steps st (class q))) as [Dn|Dn].
    + destruct (same_request q r) as [->|N]; [exists s; split; [apply stays; reflexivity|assumption]|].
      set (t := put s q 0).
      assert (move st s t) as M by (apply (is_done st s t q); unfold t; auto using put_here, put_elsewhere).
      pose proof (total_change st (left_over s) (left_over t) q Hq) as C.
      assert (forall a, a <> q -> left_over t a = left_over s a) as A
        by (intros a Na; unfold left_over, t; rewrite put_elsewhere by assumption; reflexivity).
      specialize (C A).
      assert (left_over t q = 0) as Z.
      { unfold left_over, t. rewrite put_here. destruct (holds_something_dec _ _) as [[p [_ P]]|]; [unfold holds in P; simpl in P; lia|reflexivity]. }
      destruct (IH (total st (left_over t))) with (s := t) as [u [Ru Eu]]; auto; [lia|apply goes with s; assumption|].
      exists u. split; [|assumption]. apply runs_trans with t; [|assumption]. apply goes with s; [apply stays; reflexivity|assumption].
    + destruct G as [G|G]; [contradiction|].
      set (t := put s q (s q + 1)).
      assert (move st s t) as M.
      { apply (takes st s t q); unfold t; auto using put_here, put_elsewhere. split; [assumption|lia]. }
      pose proof (total_change st (left_over s) (left_over t) q Hq) as C.
      assert (forall a, a <> q -> left_over t a = left_over s a) as A
        by (intros a Na; unfold left_over, t; rewrite put_elsewhere by assumption; reflexivity).
      specialize (C A).
      assert (left_over t q <= steps st (class q) - s q) as Z.
      { unfold left_over, t. rewrite put_here. destruct (holds_something_dec _ _); lia. }
      destruct (IH (total st (left_over t))) with (s := t) as [u [Ru Eu]]; auto; [lia|apply goes with s; assumption|].
      exists u. split; [|assumption]. apply runs_trans with t; [|assumption]. apply goes with s; [apply stays; reflexivity|assumption].
  - (* nobody holds anything: a deadlock otherwise; r goes through alone *)
    set (D := fun q => if holds_something_dec (class q) (s q) then true else false).
    assert (forall q, there st q -> ~ holds_something st (class q) (s q)) as Nobody.
    { destruct (search_requests st (fun q => holds_something st (class q) (s q))) as [[q [Hq HS]]|Z]; [intros; apply holds_something_dec| |exact Z].
      exfalso. apply ND. exists s, D. split; [assumption|]. split.
      - exists q. split; [assumption|]. unfold D. destruct (holds_something_dec _ _); tauto.
      - intros a Ha Da. unfold D in Da. destruct (holds_something_dec (class a) (s a)) as [Ka|]; [|discriminate].
        pose proof (H a Ha) as NG. pose proof (Hs a Ha).
        split; [split; [assumption|]|split; [assumption|]].
        + destruct (Nat.eq_dec (s a) (steps st (class a))); [exfalso; tauto|lia].
        + intros F. apply NG. split; [assumption|right]. intros p Hp. specialize (F p Hp).
          replace (only D s a) with (s a) in F by (unfold only, D; destruct (holds_something_dec _ _); tauto).
          replace (held st s p) with (held st (only D s) p); [assumption|]. apply total_ext. intros b Hb.
          unfold only, D. destruct (holds_something_dec (class b) (s b)) as [|Nb]; [reflexivity|].
          destruct (Nat.eq_dec (holds st (class b) (s b) p) 0) as [->|]; [reflexivity|].
          exfalso. apply Nb. exists p. split; [assumption|lia]. }
    assert (forall d u, u r + d = steps st (class r) -> (forall q, q <> r -> u q = s q) ->
              exists t, runs st u t /\ t r = steps st (class r)) as Through.
    { induction d as [|d IHd]; intros u Eu Au; [exists u; split; [apply stays; reflexivity|lia]|].
      set (v := put u r (u r + 1)).
      destruct (IHd v) as [t [Rt Et]].
      - unfold v. rewrite put_here. lia.
      - intros q N. unfold v. rewrite put_elsewhere by assumption. auto.
      - exists t. split; [|assumption]. apply runs_trans with v; [|assumption]. apply goes with u; [apply stays; reflexivity|].
        apply (takes st u v r); unfold v; auto using put_here, put_elsewhere; [split; [assumption|lia]|].
        intros p Hp. rewrite <- (held_after_a_take st u v r p); unfold v; auto using put_here, put_elsewhere.
        unfold held. rewrite (total_single st _ r Hr).
        * rewrite put_here. apply Nat.le_trans with (holds st (class r) (steps st (class r)) p); [apply holds_more; lia|].
          destruct Hr. apply Fit; [assumption|lia|assumption].
        * intros q Hq N. rewrite put_elsewhere, Au by assumption.
          destruct (Nat.eq_dec (holds st (class q) (s q) p) 0) as [|P]; [assumption|].
          exfalso. apply (Nobody q Hq). exists p. split; [assumption|lia]. }
    destruct (Through (steps st (class r) - s r) s) as [t [Rt Et]]; [specialize (Hs r Hr); lia|reflexivity|].
    exists t. split; assumption.
Qed.

Theorem safe_iff_no_deadlock :
  safe st <->
  ~ deadlock_reachable st
  /\ forall k p, k < classes st -> 0 < depth st k -> p < pools st -> holds st k (steps st k) p <= capacity st p.
Proof.
  split.
  - intros Safe. split.
    + intros [s [D [R Dl]]]. pose proof Dl as [[r [Hr Dr]] H].
      destruct (Safe s r R Hr) as [t [Rt Et]]. rewrite (deadlocked_for_ever s t D Rt Dl r Hr Dr) in Et.
      destruct (H r Hr Dr) as [[_ L] _]. lia.
    + intros k p Hk Hd Hp. destruct (Safe empty (k, 0)) as [t [Rt Et]]; [apply stays; reflexivity|split; assumption|].
      destruct (reachable_fits st t Rt) as [Hc _]. apply Nat.le_trans with (2 := Hc p Hp). simpl in Et. rewrite <- Et.
      apply (total_member st (fun r => holds st (class r) (t r) p) (k, 0)). split; assumption.
  - intros [ND Fit] s r R Hr. apply all_can_finish; assumption.
Qed.
End Stack.
