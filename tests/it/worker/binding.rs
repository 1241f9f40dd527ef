//! What an approval binds: one deployment, an end, a key that counts; and that a cancel is final. The attacker can write to the
//! store, and nothing else.

use pgwicket::{
    proposal::{Approval, Content, Decider, Decision, Status},
    store::NewKey,
    types::{Deployment, Digest, ProposalId, StoreId},
};

use super::{Bank, Kind, Transfer, content, now, yes};

impl Bank {
    fn store_sql(&self, text: &str) {
        self.store_database.as_ref().unwrap().sql(text);
    }

    fn cancel(&self, id: ProposalId) {
        let cancel = Approval { decision: Decision::Cancel, ..yes("ana", self.record(id).content.digest()) };
        self.block_on(self.store.cancel_by(id, cancel, now())).unwrap();
    }

    /// Why the worker did not apply it.
    fn refusal(&self, id: ProposalId) -> String {
        let record = self.settled(id);
        assert_eq!(record.status, Status::Failed, "{record:?}");
        record.result.unwrap().report.error.unwrap_or_default().into()
    }

    fn store_and_approve(&self, content: Content) -> ProposalId {
        let (id, digest) = (content.proposal().id, content.digest());
        self.block_on(async {
            self.store.create(content, None, now()).await.unwrap();
            self.store.decide(id, yes("ana", digest), 1, now()).await.unwrap();
        });
        id
    }
}

#[test]
fn what_was_canceled_is_not_applied_whatever_its_status_says() {
    let bank = Bank::open(Kind::Postgres, 6);
    let amounts = bank.amounts();
    let approve_again = |id| bank.store_sql(&format!("update pgwicket.proposals set status = 'approved' where id = '{id}'"));
    // By a reviewer, and by its proposer; then the status is put back, before any worker looks.
    let reviewed = bank.approved(&Transfer::between(&amounts, 1, 2, 100));
    bank.cancel(reviewed);
    let withdrawn = bank.approved(&Transfer::between(&amounts, 3, 4, 100));
    let (agent, acting) = ("bot".parse().unwrap(), pgwicket::store::Acting(None));
    bank.block_on(bank.store.cancel(&[withdrawn], &agent, &acting, now())).unwrap();
    [reviewed, withdrawn].into_iter().for_each(approve_again);
    let worker = bank.worker("w", &[]);
    for id in [reviewed, withdrawn] {
        assert!(bank.refusal(id).contains("it was canceled"), "{}", bank.refusal(id));
    }
    // A worker has told the source: then every trace in the store may go.
    let sealed = bank.approved_and_canceled(&Transfer::between(&amounts, 5, 6, 100));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while bank.seen(&format!("select outcome from pgwicket_receipts.pgwicket_receipts where proposal_id = '{sealed}'")) != "canceled" {
        assert!(std::time::Instant::now() < until, "no worker told the source: {}", worker.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bank.store_sql(&format!("delete from pgwicket.approvals where proposal_id = '{sealed}' and decision = 'cancel'"));
    approve_again(sealed);
    assert!(bank.refusal(sealed).contains("canceled after it was approved"), "{}", bank.refusal(sealed));
    assert_eq!(bank.seen("select count(*) from accounts where amount <> 1000"), "0");
}

#[test]
fn an_approval_is_for_one_deployment_ends_and_goes_with_its_key() {
    let bank = Bank::open(Kind::Postgres, 8);
    let amounts = bank.amounts();
    let of = |transfer: &Transfer, deployment: Deployment| {
        let mut proposal = content(transfer).proposal().clone();
        proposal.deployment = Some(deployment);
        bank.store_and_approve(Content::of(proposal))
    };
    let here = Deployment::new(None, bank.store.id());
    let staging = Deployment::new(None, StoreId(bank.store.id().0 ^ 1));
    let copied = of(&Transfer::between(&amounts, 1, 2, 100), staging);
    let over = bank.approved(&Transfer::between(&amounts, 3, 4, 100));
    bank.store_sql(&format!("update pgwicket.approvals set at = at - 86400001 where proposal_id = '{over}'"));
    let key = NewKey {
        name: "stolen".into(),
        scopes: vec!["proposals:approve".into()],
        reviewer: Some("ana".parse().unwrap()),
        sources: Vec::new(),
        secret_hash: Digest(rand::random()),
    };
    let key = bank.block_on(bank.store.create_key(&key, now())).unwrap().id;
    let stolen = content(&Transfer::between(&amounts, 5, 6, 100));
    let decider = Decider::ApiKey { reviewer: "ana".parse().unwrap(), key: key.clone() };
    let by_key = Approval { decider, ..yes("ana", stolen.digest()) };
    let stolen_id = stolen.proposal().id;
    bank.block_on(async {
        bank.store.create(stolen, None, now()).await.unwrap();
        bank.store.decide(stolen_id, by_key, 1, now()).await.unwrap();
        bank.store.revoke_key(&key, now()).await.unwrap();
    });
    let good = of(&Transfer::between(&amounts, 7, 8, 100), here);
    let _worker = bank.worker("w", &[]);
    for (id, words) in [(copied, "it was proposed in deployment dep_"), (over, "the approval by ana has ended"), (stolen_id, "was revoked")]
    {
        assert!(bank.refusal(id).contains(words), "{}", bank.refusal(id));
    }
    assert_eq!(bank.settled(good).status, Status::Applied);
    assert_eq!(bank.seen("select count(*) from accounts where amount <> 1000"), "2");
}
